//! `qty(text)`: a quantity as people write it, `[comparator]value[space]unit` (StructureMap, map-transform).

use super::values::is_decimal;

/// The parts of a quantity in a text, digits as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Quantity<'t> {
    /// `<`, `<=`, `>=` or `>`.
    pub(super) comparator: Option<&'t str>,
    pub(super) value: &'t str,
    pub(super) unit: Option<&'t str>,
}

/// One of the parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Comparator,
    Value,
    Unit,
}

impl<'t> Quantity<'t> {
    /// Reads a text; `None` if it does not start with a number.
    pub(super) fn read(text: &'t str) -> Option<Quantity<'t>> {
        let text = text.trim();
        let comparator = ["<=", ">=", "<", ">"].into_iter().find(|each| text.starts_with(each));
        let rest = text[comparator.map_or(0, str::len)..].trim_start();
        let length = rest.find(|letter: char| !letter.is_ascii_digit() && !matches!(letter, '.' | '-'));
        let (value, unit) = rest.split_at(length.unwrap_or(rest.len()));
        let unit = Some(unit.trim()).filter(|unit| !unit.is_empty());
        is_decimal(value).then_some(Quantity { comparator, value, unit })
    }

    /// One part of it.
    pub(super) fn part(self, part: Part) -> Option<&'t str> {
        match part {
            Part::Comparator => self.comparator,
            Part::Value => Some(self.value),
            Part::Unit => self.unit,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantity_is_read_as_people_write_it() {
        let read = |text| Quantity::read(text).map(|found| (found.comparator, found.value, found.unit));
        assert_eq!(read("60.0 kg"), Some((None, "60.0", Some("kg"))));
        assert_eq!(read("<=5mg/mL"), Some((Some("<="), "5", Some("mg/mL"))));
        assert_eq!(read(" > -0.50 °C "), Some((Some(">"), "-0.50", Some("°C"))));
        assert_eq!(read("7"), Some((None, "7", None)));
        for text in ["", "kg", "1.2.3 kg", "<", "1- 2"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
