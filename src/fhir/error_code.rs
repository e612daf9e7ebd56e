//! The codes of http-error-codes as others use them: who they say is at fault, and what they mean for the message (BaRS API
//! 1.4.0, responses 4XX-BARS and 5XX-BARS; BaRS Core, error handling).

use super::bars::OutcomeCodes;

/// Who finds the fault and where, by the code's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// `SEND_`: the API in between, in what we sent.
    Sender,
    /// `REC_`: the partner's own system.
    Receiver,
    /// `PROXY_`, or none: the API in between, in itself or in its directory.
    Proxy,
}

impl By {
    /// In words, for operators.
    pub fn words(self) -> &'static str {
        match self {
            By::Sender => "the API in between finds fault with what we sent",
            By::Receiver => "the partner's own system says so",
            By::Proxy => "the API in between the parties is at fault, or its directory",
        }
    }
}

/// What a code means for the message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Meaning {
    /// It is to be sent again, with the same ids.
    Again,
    /// The same; but as long as nobody lets us in there, that is of no use: a person has to look.
    Unauthorised,
    /// It will not be taken as it is: a person has to look.
    Refused,
    /// The partner has it already if the issue is `duplicate`; refused otherwise.
    Conflict,
}

/// One code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Who finds it.
    pub by: By,
    /// What it means for the message.
    pub meaning: Meaning,
    /// What happened, in words.
    pub words: &'static str,
}

/// The codes without their prefix.
const CODES: [(&str, Meaning, &str); 15] = [
    ("BAD_REQUEST", Meaning::Refused, "the message or its headers are not as they should be"),
    ("UNAUTHORIZED", Meaning::Unauthorised, "we are not known there, or our token or certificate is not accepted"),
    ("FORBIDDEN", Meaning::Refused, "we may not do this there"),
    ("NOT_FOUND", Meaning::Refused, "the service or what the message names is not there"),
    ("METHOD_NOT_ALLOWED", Meaning::Refused, "the endpoint does not take messages in this way"),
    ("NOT_ACCEPTABLE", Meaning::Refused, "our version or format is not spoken there"),
    ("TIMEOUT", Meaning::Again, "it took too long"),
    ("CONFLICT", Meaning::Conflict, "it conflicts with what is there already"),
    ("UNPROCESSABLE_ENTITY", Meaning::Refused, "the message is well formed, but cannot be processed"),
    ("TOO_EARLY", Meaning::Again, "the same message is being processed at this moment"),
    ("TOO_MANY_REQUESTS", Meaning::Again, "there were too many requests in this time"),
    ("SERVER_ERROR", Meaning::Again, "something went wrong there"),
    ("NOT_IMPLEMENTED", Meaning::Refused, "this is not implemented there"),
    ("UNAVAILABLE", Meaning::Again, "it is out of service for now"),
    ("SERVICE_UNAVAILABLE", Meaning::Again, "it is out of service for now"),
];

/// What a code of http-error-codes says; `None` for any other.
pub fn fault(code: &str) -> Option<Fault> {
    let prefixes = [("SEND_", By::Sender), ("REC_", By::Receiver), ("PROXY_", By::Proxy)];
    let prefixed = prefixes.iter().find_map(|(prefix, by)| Some((code.strip_prefix(prefix)?, *by)));
    let (word, by) = prefixed.unwrap_or((code, By::Proxy));
    let (_, meaning, words) = CODES.iter().find(|(known, ..)| *known == word)?;
    Some(Fault { by, meaning: *meaning, words })
}

/// What the codes of an OperationOutcome mean together: that it is worth trying again outweighs that it is not, since a
/// resend has the same ids. `None` when none of them is known.
pub fn meaning(codes: &OutcomeCodes) -> Option<Fault> {
    let mut known: Vec<Fault> = codes.details.iter().filter_map(|code| fault(code)).collect();
    known.sort_by_key(|fault| match fault.meaning {
        Meaning::Unauthorised => 0,
        Meaning::Again => 1,
        Meaning::Conflict => 2,
        Meaning::Refused => 3,
    });
    known.first().copied()
}

/// What the codes say and who says it, for operators: empty when none is known.
pub fn explained(codes: &OutcomeCodes) -> String {
    let said = |fault: Fault| format!("{}; {}", fault.words, fault.by.words());
    meaning(codes).map(said).unwrap_or_default()
}

/// Every code of the API specification's tables, and of its examples, with its status there.
#[cfg(test)]
pub(crate) const SPECIFIED: [(u16, &str); 37] = [
    (400, "SEND_BAD_REQUEST"),
    (400, "REC_BAD_REQUEST"),
    (400, "PROXY_BAD_REQUEST"),
    (400, "BAD_REQUEST"),
    (401, "SEND_UNAUTHORIZED"),
    (401, "REC_UNAUTHORIZED"),
    (403, "SEND_FORBIDDEN"),
    (403, "REC_FORBIDDEN"),
    (404, "PROXY_NOT_FOUND"),
    (404, "REC_NOT_FOUND"),
    (404, "NOT_FOUND"),
    (405, "SEND_METHOD_NOT_ALLOWED"),
    (405, "REC_METHOD_NOT_ALLOWED"),
    (405, "PROXY_METHOD_NOT_ALLOWED"),
    (406, "SEND_NOT_ACCEPTABLE"),
    (406, "REC_NOT_ACCEPTABLE"),
    (408, "REC_TIMEOUT"),
    (409, "SEND_CONFLICT"),
    (409, "REC_CONFLICT"),
    (409, "PROXY_CONFLICT"),
    (422, "SEND_UNPROCESSABLE_ENTITY"),
    (422, "REC_UNPROCESSABLE_ENTITY"),
    (422, "PROXY_UNPROCESSABLE_ENTITY"),
    (425, "REC_TOO_EARLY"),
    (429, "SEND_TOO_MANY_REQUESTS"),
    (429, "REC_TOO_MANY_REQUESTS"),
    (500, "REC_SERVER_ERROR"),
    (500, "PROXY_SERVER_ERROR"),
    (500, "SERVER_ERROR"),
    (501, "SEND_NOT_IMPLEMENTED"),
    (501, "REC_NOT_IMPLEMENTED"),
    (501, "PROXY_NOT_IMPLEMENTED"),
    (503, "REC_UNAVAILABLE"),
    (503, "PROXY_UNAVAILABLE"),
    (503, "REC_SERVICE_UNAVAILABLE"),
    (503, "PROXY_SERVICE_UNAVAILABLE"),
    (503, "SERVICE_UNAVAILABLE"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_of_the_specification_says_who_and_whether_to_send_again() {
        for (status, code) in SPECIFIED {
            let fault = fault(code).unwrap_or_else(|| panic!("{code} is known"));
            let meaning = match status {
                401 => Meaning::Unauthorised,
                408 | 425 | 429 | 500 | 503 => Meaning::Again,
                409 => Meaning::Conflict,
                _ => Meaning::Refused,
            };
            let by = match code.split('_').next() {
                Some("SEND") => By::Sender,
                Some("REC") => By::Receiver,
                _ => By::Proxy,
            };
            assert_eq!((fault.meaning, fault.by), (meaning, by), "{code}");
            assert!(super::super::bars::is_error_code(code), "{code} is kept");
        }
    }

    #[test]
    fn other_words_say_nothing() {
        for code in ["", "REC_", "REC_CHALMERS", "CHALMERS", "rec_conflict", "SEND_REC_CONFLICT", "503"] {
            assert_eq!(fault(code), None, "{code}");
        }
    }

    #[test]
    fn what_is_worth_trying_again_is_tried_again() {
        let codes = |details: &[&str]| OutcomeCodes {
            issues: vec![],
            details: details.iter().map(|code| (*code).into()).collect(),
        };
        let meant = |details: &[&str]| meaning(&codes(details)).map(|fault| fault.meaning);
        assert_eq!(meant(&["REC_BAD_REQUEST", "PROXY_SERVER_ERROR"]), Some(Meaning::Again));
        assert_eq!(meant(&["REC_BAD_REQUEST", "REC_CONFLICT"]), Some(Meaning::Conflict));
        assert_eq!(meant(&["PROXY_UNAVAILABLE", "SEND_UNAUTHORIZED"]), Some(Meaning::Unauthorised));
        assert_eq!(meant(&["unknown"]), None);
        let words = "it is out of service for now; the API in between the parties is at fault, or its directory";
        assert_eq!(explained(&codes(&["PROXY_UNAVAILABLE"])), words);
        assert_eq!(explained(&codes(&[])), "");
    }
}
