//! What functions work on and yield, as far as that is certain before any data is there.

use super::function::Function;
use super::shape::{Kinds, Shape, System};

/// Kinds of input outside of which the function has no result; all where anything goes.
pub(super) fn input(function: Function) -> Kinds {
    use Function as F;
    const SPELLED: Kinds = Kinds::TEXT.or(Kinds::NUMBER).or(Kinds::DATE).or(Kinds::TIME);
    const MEASURED: Kinds = Kinds::NUMBER.or(Kinds::QUANTITY);
    match function {
        of_texts if super::functions::strings::has(of_texts) => SPELLED,
        F::Abs | F::Ceiling | F::Floor | F::Truncate => MEASURED,
        F::Exp | F::Ln | F::Log | F::Power | F::Round | F::Sqrt => Kinds::NUMBER,
        F::AllTrue | F::AnyTrue | F::AllFalse | F::AnyFalse => Kinds::BOOLEAN,
        F::Resolve | F::MemberOf | F::Subsumes | F::SubsumedBy => Kinds::TEXT.or(Kinds::OTHER),
        _ => Kinds::ALL,
    }
}

/// Kinds that the argument at `index` must be of.
pub(super) fn argument(function: Function, index: usize) -> Kinds {
    use Function as F;
    match (function, index) {
        (F::StartsWith | F::EndsWith | F::Contains | F::IndexOf | F::LastIndexOf | F::Split | F::Join, _) => {
            Kinds::TEXT
        }
        (F::Matches | F::MatchesFull | F::ReplaceMatches | F::Replace, _) => Kinds::TEXT,
        (F::Encode | F::Decode | F::Escape | F::Unescape, _) => Kinds::TEXT,
        (F::Extension | F::ConformsTo | F::MemberOf | F::Slice, _) | (F::Trace, 0) => Kinds::TEXT,
        (F::Skip | F::Take | F::Substring | F::Round | F::Log | F::Power, _) => Kinds::NUMBER,
        (F::LowBoundary | F::HighBoundary, _) => Kinds::NUMBER,
        (F::Where | F::Exists | F::All | F::Iif, 0) => Kinds::BOOLEAN,
        _ => Kinds::ALL,
    }
}

/// What the function yields, if that depends on neither input nor arguments.
pub(super) fn result(function: Function) -> Option<Shape> {
    use Function as F;
    let of = match function {
        F::Empty | F::Exists | F::All | F::AllTrue | F::AnyTrue | F::AllFalse | F::AnyFalse | F::Not => System::Boolean,
        F::SubsetOf | F::SupersetOf | F::IsDistinct | F::HasValue | F::HtmlChecks | F::Comparable => System::Boolean,
        F::ConformsTo | F::MemberOf | F::Subsumes | F::SubsumedBy | F::CheckModifiers => System::Boolean,
        F::StartsWith | F::EndsWith | F::Contains | F::Matches | F::MatchesFull | F::ToBoolean => System::Boolean,
        F::ConvertsToBoolean | F::ConvertsToInteger | F::ConvertsToDecimal | F::ConvertsToDate => System::Boolean,
        F::ConvertsToDateTime | F::ConvertsToTime | F::ConvertsToQuantity | F::ConvertsToText => System::Boolean,
        F::Count | F::Length | F::IndexOf | F::LastIndexOf | F::ToInteger | F::Precision => System::Integer,
        F::Upper | F::Lower | F::Trim | F::Substring | F::Replace | F::ReplaceMatches | F::Join => System::String,
        F::Split | F::ToChars | F::ToText | F::Encode | F::Decode | F::Escape | F::Unescape => System::String,
        F::ToDecimal | F::Exp | F::Ln | F::Log | F::Sqrt => System::Decimal,
        F::ToDate | F::Today => System::Date,
        F::ToDateTime | F::Now => System::DateTime,
        F::ToTime | F::TimeOfDay => System::Time,
        F::ToQuantity => System::Quantity,
        F::Extension => return Some(Shape::named("Extension")),
        _ => return None,
    };
    Some(Shape::system(of))
}

/// Whether the arguments are evaluated on each item of the input.
pub(super) fn is_on_items(function: Function) -> bool {
    use Function as F;
    matches!(
        function,
        F::Where | F::Exists | F::All | F::Select | F::Repeat | F::Aggregate | F::Sort | F::Iif | F::Trace
    )
}
