//! Identifiers with a check of their own: NHS number, ODS code, SNOMED CT identifier, LOINC number.

/// The SNOMED CT code system.
pub(crate) const SNOMED_CT: &str = "http://snomed.info/sct";

/// The dictionary of medicines and devices, whose codes are SNOMED CT identifiers.
pub(crate) const DMD: &str = "https://dmd.nhs.uk";

/// The LOINC code system.
pub(crate) const LOINC: &str = "http://loinc.org";

/// Ten digits with the check digit of the NHS Data Dictionary: weights 10 to 2, modulus 11.
pub(crate) fn is_nhs_number(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() != 10 || !bytes.iter().all(u8::is_ascii_digit) {
        return false;
    }
    let sum: u32 = bytes[..9].iter().zip((2..=10).rev()).map(|(byte, weight)| u32::from(byte - b'0') * weight).sum();
    (11 - sum % 11) % 11 == u32::from(bytes[9] - b'0')
}

/// One to nine letters and digits (ODS code format).
pub(crate) fn is_ods_code(text: &str) -> bool {
    (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Six to eighteen digits with Verhoeff's check digit (SNOMED CT Technical Implementation Guide, 5.5.3).
pub(crate) fn is_snomed_id(text: &str) -> bool {
    if !(6..=18).contains(&text.len()) || text.starts_with('0') || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return false;
    }
    let check = text.bytes().rev().enumerate().fold(0_usize, |check, (place, byte)| {
        let mut digit = usize::from(byte - b'0');
        for _ in 0..place % 8 {
            digit = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4][digit];
        }
        multiply(check, digit)
    });
    check == 0
}

/// One to seven digits, a hyphen, and a check digit of modulus 10 (LOINC Users' Guide, appendix C).
pub(crate) fn is_loinc_number(text: &str) -> bool {
    let Some((number, check)) = text.split_once('-') else { return false };
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !(1..=7).contains(&number.len()) || check.len() != 1 || !is_digits(number) || !is_digits(check) {
        return false;
    }
    let sum = number.bytes().rev().enumerate().fold(0, |sum, (place, byte)| {
        let digit = u32::from(byte - b'0') * if place % 2 == 0 { 2 } else { 1 };
        sum + digit / 10 + digit % 10
    });
    (10 - sum % 10) % 10 == u32::from(check.as_bytes()[0] - b'0')
}

/// The product of two elements of the dihedral group D5, which Verhoeff's scheme multiplies in.
fn multiply(left: usize, right: usize) -> usize {
    match (left < 5, right < 5) {
        (true, true) => (left + right) % 5,
        (true, false) => (left + right - 5) % 5 + 5,
        (false, true) => (left - 5 + 5 - right) % 5 + 5,
        (false, false) => (left + 5 - right) % 5,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_nhs_number_has_a_check_digit() {
        for right in ["9990001014", "9990002002", "9990000123"] {
            assert!(is_nhs_number(right), "{right}");
        }
        for wrong in ["9990001015", "999000101", "99900010140", "999 000 1014", ""] {
            assert!(!is_nhs_number(wrong), "{wrong}");
        }
        // 11 less the remainder is 11 here, which is written 0; and 10 there, for which there is no digit: no number begins so.
        assert!(is_nhs_number("9990000050"), "a check digit of 11 is 0");
        assert!((0..10).all(|digit| !is_nhs_number(&format!("999000000{digit}"))), "10 is no digit");
    }

    #[test]
    fn a_loinc_number_has_a_check_digit() {
        for right in ["8310-5", "85354-9", "29463-7", "2708-6", "1-8"] {
            assert!(is_loinc_number(right), "{right}");
        }
        for wrong in ["8310-6", "8310", "8310-", "-5", "12345678-1", "83a0-5", "8310-55"] {
            assert!(!is_loinc_number(wrong), "{wrong}");
        }
    }

    #[test]
    fn a_snomed_id_has_a_check_digit() {
        for right in ["736253002", "417430008", "766561000000109", "22298006", "138875005"] {
            assert!(is_snomed_id(right), "{right}");
        }
        for wrong in ["736253003", "73625", "0736253002", "22298060", "U"] {
            assert!(!is_snomed_id(wrong), "{wrong}");
        }
    }
}
