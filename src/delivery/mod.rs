//! Stage 6: a message goes to its recipient over mutual TLS.
//!
//! Enters: a [`Dispatch`], what is sent to one [`Partner`]. Leaves: the partner's [`Reply`], or an [`AttemptError`] that
//! says whether the message may have arrived. Invariant: not one byte of HTTP goes to a peer whose certificate does
//! not chain to the partner's anchors, does not match its host name, or names another party. A resend carries the same
//! ids and the same bytes (BaRS, retries), so that the receiver sees one message.

mod attempt;
mod dispatch;
mod lane;
mod notice;
pub mod outbox;
mod partner;
mod reply;
mod retry;

pub use attempt::{AttemptError, TlsRefusal};
pub use dispatch::{Dispatch, NEW_REFERRAL};
pub use lane::Lane;
pub use notice::{NoticeError, Notifier};
pub use partner::{Partner, PartnerSection, SettingError};
pub use reply::{MAX_ANSWER, Reply};
pub use retry::Schedule;
