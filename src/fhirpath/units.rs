//! Units of quantities: UCUM codes in terms of base units, as far as clinical records use them, and calendar units.
//!
//! A code that is not understood is still equal to itself. Factors are exact decimals. Special units (Celsius, pH) are
//! units of their own.

use rust_decimal::{Decimal, MathematicalOps as _};

use super::item::Quantity;

/// Exponents of metre, second, gram, kelvin, candela, coulomb, radian, mole, `[iU]`, calendar month.
type Dimensions = [i8; 10];

/// A unit as a multiple of a product of base units.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Unit {
    factor: Decimal,
    dimensions: Dimensions,
}

/// Longest unit code that is looked at.
const LONGEST: usize = 64;

const ONE: Dimensions = [0; 10];
const LENGTH: Dimensions = [1, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const TIME: Dimensions = [0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
const MASS: Dimensions = [0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
const KELVIN: Dimensions = [0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
const CANDELA: Dimensions = [0, 0, 0, 0, 1, 0, 0, 0, 0, 0];
const CHARGE: Dimensions = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
const ANGLE: Dimensions = [0, 0, 0, 0, 0, 0, 1, 0, 0, 0];
const AMOUNT: Dimensions = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0];
const ACTIVITY: Dimensions = [0, 0, 0, 0, 0, 0, 0, 0, 1, 0];
const MONTH: Dimensions = [0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
const VOLUME: Dimensions = [3, 0, 0, 0, 0, 0, 0, 0, 0, 0];
const PRESSURE: Dimensions = [-1, -2, 1, 0, 0, 0, 0, 0, 0, 0];
const ENERGY: Dimensions = [2, -2, 1, 0, 0, 0, 0, 0, 0, 0];
const FORCE: Dimensions = [1, -2, 1, 0, 0, 0, 0, 0, 0, 0];
const POWER: Dimensions = [2, -3, 1, 0, 0, 0, 0, 0, 0, 0];
const FREQUENCY: Dimensions = [0, -1, 0, 0, 0, 0, 0, 0, 0, 0];
const CATALYSIS: Dimensions = [0, -1, 0, 0, 0, 0, 0, 1, 0, 0];

/// Code, factor, dimensions, whether it takes prefixes (UCUM, tables 1 to 14).
const ATOMS: &[(&str, &str, Dimensions, bool)] = &[
    ("m", "1", LENGTH, true),
    ("s", "1", TIME, true),
    ("g", "1", MASS, true),
    ("K", "1", KELVIN, true),
    ("cd", "1", CANDELA, true),
    ("C", "1", CHARGE, true),
    ("rad", "1", ANGLE, true),
    ("mol", "1", AMOUNT, true),
    ("eq", "1", AMOUNT, true),
    ("osm", "1", AMOUNT, true),
    ("[iU]", "1", ACTIVITY, true),
    ("[IU]", "1", ACTIVITY, true),
    ("1", "1", ONE, false),
    ("%", "0.01", ONE, false),
    ("[ppth]", "0.001", ONE, false),
    ("[ppm]", "0.000001", ONE, false),
    ("min", "60", TIME, false),
    ("h", "3600", TIME, false),
    ("d", "86400", TIME, false),
    ("wk", "604800", TIME, false),
    ("mo", "2629800", TIME, false),
    ("a", "31557600", TIME, false),
    ("L", "0.001", VOLUME, true),
    ("l", "0.001", VOLUME, true),
    ("t", "1000000", MASS, true),
    ("[lb_av]", "453.59237", MASS, false),
    ("[oz_av]", "28.349523125", MASS, false),
    ("[stone_av]", "6350.29318", MASS, false),
    ("[gr]", "0.06479891", MASS, false),
    ("[in_i]", "0.0254", LENGTH, false),
    ("[ft_i]", "0.3048", LENGTH, false),
    ("[yd_i]", "0.9144", LENGTH, false),
    ("[mi_i]", "1609.344", LENGTH, false),
    ("[in_us]", "0.0254000508001016", LENGTH, false),
    ("[foz_us]", "0.0000295735295625", VOLUME, false),
    ("Hz", "1", FREQUENCY, true),
    ("N", "1000", FORCE, true),
    ("Pa", "1000", PRESSURE, true),
    ("bar", "100000000", PRESSURE, true),
    ("m[Hg]", "133322000", PRESSURE, true),
    ("m[H2O]", "9806650", PRESSURE, true),
    ("J", "1000", ENERGY, true),
    ("cal", "4184", ENERGY, true),
    ("W", "1000", POWER, true),
    ("kat", "1", CATALYSIS, true),
    ("U", "0.0000000166666666666666666667", CATALYSIS, true),
    ("deg", "0.0174532925199432957692", ANGLE, false),
];

const PREFIXES: &[(&str, i64)] = &[
    ("da", 1),
    ("k", 3),
    ("h", 2),
    ("d", -1),
    ("c", -2),
    ("m", -3),
    ("u", -6),
    ("n", -9),
    ("p", -12),
    ("f", -15),
    ("M", 6),
    ("G", 9),
    ("T", 12),
];

impl Unit {
    const ONE: Unit = Unit { factor: Decimal::ONE, dimensions: ONE };

    /// Reads a UCUM code; `None` if it is not understood.
    fn parse(code: &str) -> Option<Unit> {
        if code.is_empty() || code.len() > LONGEST {
            return None;
        }
        let mut unit = Unit::ONE;
        let mut rest = code;
        let mut divides = false;
        loop {
            if let Some(after) = rest.strip_prefix('/') {
                (rest, divides) = (after, true);
            }
            let end = component_end(rest);
            unit = unit.times(Unit::component(&rest[..end])?, divides)?;
            rest = &rest[end..];
            divides = match rest.bytes().next() {
                None => return Some(unit),
                Some(b'.') => false,
                Some(_) => true,
            };
            rest = &rest[1..];
        }
    }

    /// `cm2`, `10*3`, `{beats}`, `mg{total}`.
    fn component(text: &str) -> Option<Unit> {
        let text = text.split('{').next().unwrap_or_default();
        if text.is_empty() {
            return Some(Unit::ONE);
        }
        if let Some(power) = text.strip_prefix("10*").or_else(|| text.strip_prefix("10^")) {
            let power: i64 = if power.is_empty() { 1 } else { power.parse().ok()? };
            return Some(Unit { factor: ten_to(power)?, dimensions: ONE });
        }
        let digits = text.trim_end_matches(|letter: char| letter.is_ascii_digit());
        let name = digits.strip_suffix(['-', '+']).unwrap_or(digits);
        if name.is_empty() {
            return Some(Unit { factor: text.parse().ok()?, dimensions: ONE });
        }
        let exponent: i8 = if name.len() == text.len() { 1 } else { text[name.len()..].parse().ok()? };
        Unit::atom(name)?.raised(exponent)
    }

    fn atom(name: &str) -> Option<Unit> {
        let find = |name: &str| ATOMS.iter().find(|atom| atom.0 == name);
        if let Some(&(_, factor, dimensions, _)) = find(name) {
            return Some(Unit { factor: factor.parse().ok()?, dimensions });
        }
        PREFIXES.iter().find_map(|(prefix, power)| {
            let &(_, factor, dimensions, _) = find(name.strip_prefix(prefix)?).filter(|atom| atom.3)?;
            let factor: Decimal = factor.parse().ok()?;
            Some(Unit { factor: factor.checked_mul(ten_to(*power)?)?, dimensions })
        })
    }

    fn raised(self, exponent: i8) -> Option<Unit> {
        let mut dimensions = self.dimensions;
        for dimension in &mut dimensions {
            *dimension = dimension.checked_mul(exponent)?;
        }
        Some(Unit { factor: self.factor.checked_powi(i64::from(exponent))?, dimensions })
    }

    fn times(self, other: Unit, divides: bool) -> Option<Unit> {
        let other = if divides { other.raised(-1)? } else { other };
        let mut dimensions = self.dimensions;
        for (dimension, more) in dimensions.iter_mut().zip(other.dimensions) {
            *dimension = dimension.checked_add(more)?;
        }
        Some(Unit { factor: self.factor.checked_mul(other.factor)?, dimensions })
    }

    fn of(quantity: &Quantity<'_>) -> Option<Unit> {
        if !quantity.is_calendar {
            return Unit::parse(&quantity.unit);
        }
        // Up to the week, a calendar unit is the definite one; months and years are not (FHIRPath N1, 4.1.8.2).
        let (factor, dimensions) = match &*quantity.unit {
            "year" => (12_000, MONTH),
            "month" => (1_000, MONTH),
            "week" => (604_800_000, TIME),
            "day" => (86_400_000, TIME),
            "hour" => (3_600_000, TIME),
            "minute" => (60_000, TIME),
            "second" => (1_000, TIME),
            _ => (1, TIME),
        };
        Some(Unit { factor: Decimal::new(factor, 3), dimensions })
    }
}

fn ten_to(power: i64) -> Option<Decimal> {
    Decimal::TEN.checked_powi(power)
}

/// Where the first component ends: at a dot or slash outside brackets and braces.
fn component_end(text: &str) -> usize {
    let mut inside = false;
    text.bytes()
        .position(|byte| {
            match byte {
                b'[' | b'{' => inside = true,
                b']' | b'}' => inside = false,
                _ => {}
            }
            !inside && matches!(byte, b'.' | b'/')
        })
        .unwrap_or(text.len())
}

/// Both numbers in the same unit; `None` if the units cannot be compared.
pub(super) fn in_common(left: &Quantity<'_>, right: &Quantity<'_>) -> Option<(Decimal, Decimal)> {
    if left.unit == right.unit && left.is_calendar == right.is_calendar {
        return Some((left.value, right.value));
    }
    let (left_unit, right_unit) = (Unit::of(left)?, Unit::of(right)?);
    if left_unit.dimensions != right_unit.dimensions {
        return None;
    }
    let left = left.value.checked_mul(left_unit.factor)?;
    let right = right.value.checked_mul(right_unit.factor)?;
    Some((left, right))
}

/// The number of `quantity` in the unit of `model`; `None` if the units cannot be compared.
pub(super) fn converted(quantity: &Quantity<'_>, model: &Quantity<'_>) -> Option<Decimal> {
    if quantity.unit == model.unit && quantity.is_calendar == model.is_calendar {
        return Some(quantity.value);
    }
    let (own, other) = in_common(quantity, &Quantity { value: Decimal::ONE, ..model.clone() })?;
    own.checked_div(other)
}

/// Whether the units measure the same thing.
pub(super) fn comparable(left: &Quantity<'_>, right: &Quantity<'_>) -> bool {
    in_common(left, right).is_some()
}

/// The product or quotient of two units, simplified where they are the same or one is missing.
pub(super) fn combined(left: &str, right: &str, divides: bool) -> String {
    match (left, right, divides) {
        (left, "1", _) => left.to_owned(),
        ("1", right, false) => right.to_owned(),
        ("1", right, true) => format!("/{right}"),
        (left, right, true) if left == right => "1".to_owned(),
        (left, right, true) if right.contains(['.', '/']) => format!("{left}/({right})"),
        (left, right, true) => format!("{left}/{right}"),
        (left, right, false) => format!("{left}.{right}"),
    }
}
