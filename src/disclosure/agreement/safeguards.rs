//! What protects what is shared: controls that Weir enforces, the DPIA that relies on them, and whom to tell when one
//! fails.

use http::Uri;

use super::words::{Control, Severity};
use crate::identity::tls::TlsVersion;

/// What the site must enforce for this agreement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Controls {
    /// The lowest TLS version of the lane to the recipient.
    pub minimum_tls: TlsVersion,
    /// Whether the recipient's certificate must carry a key that the partner file pins.
    pub pinning: bool,
    /// Whether payloads must be sealed where they are stored. Weir always seals them.
    pub encryption_at_rest: bool,
}

/// The data protection impact assessment behind an agreement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dpia {
    /// Where it is filed.
    pub reference: String,
    /// What is done about each risk that it found.
    pub mitigations: Vec<Mitigation>,
}

/// A risk and the control that answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mitigation {
    /// The risk, in words.
    pub risk: String,
    /// What Weir enforces against it.
    pub control: Control,
}

/// Whom to tell of an incident, how, and how soon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Escalation {
    /// Of incidents of this severity.
    pub severity: Severity,
    /// Whom, in words.
    pub contact: String,
    /// Within this many hours: 1 to 720.
    pub hours: u32,
    /// Where to post the incident: an `https` address.
    pub webhook: Option<Uri>,
    /// Whether to write the incident to the site's spool folder. One of webhook and spool is there.
    pub spool: bool,
}
