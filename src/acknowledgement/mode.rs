//! Which acknowledgements an HL7 v2 message asks for (HL7 v2.5.1 chapter 2, 2.9.2 and 2.9.3; MSH-15, MSH-16; table 0155).

use crate::intake::hl7v2::Head;

/// By which rules a message is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// One application acknowledgement: neither MSH-15 nor MSH-16 is valued.
    Original,
    /// An accept acknowledgement of what is on disk, then an application acknowledgement, each when it was asked for.
    Enhanced {
        /// MSH-15
        accept: When,
        /// MSH-16
        application: When,
    },
}

/// When an acknowledgement is asked for (table 0155).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum When {
    /// `AL`
    Always,
    /// `NE`: never. Also what stands in the place of the one of both fields that is not valued.
    Never,
    /// `ER`: of what is in error or rejected.
    OnError,
    /// `SU`: of what succeeded.
    OnSuccess,
}

impl Mode {
    /// What the head of a message asks for. A code that is not in the table is answered like `AL`: its sender is told that it is none.
    pub(super) fn of(head: Option<&Head>) -> Mode {
        let asked = head.map(|head| (head.accept_type.as_str(), head.application_type.as_str()));
        match asked {
            None | Some(("", "")) => Mode::Original,
            Some((accept, application)) => {
                let when = |code: &str| When::of(code).unwrap_or(When::Always);
                Mode::Enhanced { accept: when(accept), application: when(application) }
            }
        }
    }
}

impl When {
    /// By its code; `None` for one that table 0155 has not.
    pub(super) fn of(code: &str) -> Option<When> {
        Some(match code {
            "AL" => When::Always,
            "" | "NE" => When::Never,
            "ER" => When::OnError,
            "SU" => When::OnSuccess,
            _ => return None,
        })
    }

    /// Whether it is asked for, of a message that succeeded or did not.
    pub(super) fn is_met(self, succeeded: bool) -> bool {
        match self {
            When::Always => true,
            When::Never => false,
            When::OnError => !succeeded,
            When::OnSuccess => succeeded,
        }
    }
}
