//! Stage 6: a message goes to its recipient over mutual TLS.
//!
//! Enters: a [`Dispatch`], what is sent to one [`Partner`]. Leaves: the partner's [`Answer`], or an [`AttemptError`] that
//! says whether the message may have arrived. A partner has one [`Lane`] a route, and a lane one transport
//! (`transport.rs` is the seam). Invariant: not one byte of HTTP goes to a peer whose certificate does
//! not chain to the partner's anchors, does not match its host name, or names another party. A resend carries the same
//! ids and the same bytes (BaRS, retries), so that the receiver sees one message.

mod attempt;
mod bars;
mod client;
mod cosigner;
pub mod deadline;
mod discovery;
mod dispatch;
mod endpoint;
mod lane;
pub mod mesh;
mod notice;
pub mod outbox;
mod partner;
mod probe;
mod reply;
pub mod rest;
mod retry;
mod setting;
mod transport;

pub use attempt::{AttemptError, TlsRefusal};
pub use bars::Bars;
pub use cosigner::Cosigner;
pub use discovery::{Discovery, Support};
pub use dispatch::Dispatch;
pub use endpoint::{Endpoint, RouteSection};
pub use lane::{BreakerSection, BreakerSettings, Health, Lane, LaneSettings, Place, Standing};
pub use notice::{NoticeError, Notifier};
pub use partner::{BarsSettings, Over, Partner, PartnerSection};
pub use probe::{Probe, Remark, probe};
pub use reply::{MAX_ANSWER, Reply};
pub use retry::Schedule;
pub use setting::SettingError;
pub use transport::Answer;
