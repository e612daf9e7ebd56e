//! The agreements of a site, and which of them a message leaves under.

use std::ops::Range;
use std::sync::Arc;

use super::lint::lint;
use super::read::read;
use super::{Agreement, Fault, Profiles, RequiredElements, Status, Surroundings};
use crate::disclosure::Error;
use crate::fhir::Instant;
use crate::identity::{AgreementId, InterfaceName, PartyId};
use crate::storage::Approval;

/// The agreements of a site.
#[derive(Debug, Default)]
pub struct Agreements {
    list: Vec<Arc<Agreement>>,
}

/// A version that came into the list of a site, or went from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AgreementChange {
    /// Its id.
    pub agreement: AgreementId,
    /// Its version.
    pub version: String,
    /// SHA-256 of its file.
    pub file: [u8; 32],
    /// Whether it came; else it went.
    pub came: bool,
}

impl Agreements {
    /// Reads and checks agreement files, given by name and text.
    ///
    /// # Errors
    /// Every fault of every file.
    pub fn load(files: &[(String, String)]) -> Result<Agreements, Vec<Fault>> {
        Agreements::load_for(files, &|_: &str| Vec::new())
    }

    /// The same, knowing what the profiles require beyond base R4: where such an element is withheld, a tellable
    /// agreement says so in its place.
    ///
    /// # Errors
    /// Every fault of every file.
    pub fn load_for(files: &[(String, String)], required: RequiredElements<'_>) -> Result<Agreements, Vec<Fault>> {
        let mut faults = Vec::new();
        let mut list: Vec<Loaded<'_>> = Vec::new();
        for (file, text) in files {
            match read(file, text, required) {
                Ok((agreement, id_at)) => list.push(Loaded { file, text, id_at, agreement: Arc::new(agreement) }),
                Err(found) => faults.extend(found),
            }
        }
        faults.extend(overlaps(&list));
        if !faults.is_empty() {
            return Err(faults);
        }
        Ok(Agreements { list: list.into_iter().map(|loaded| loaded.agreement).collect() })
    }

    /// The same, with what only the site's profiles and settings show.
    ///
    /// # Errors
    /// Every fault of every file, in the order of the files.
    pub fn check(
        files: &[(String, String)],
        required: RequiredElements<'_>,
        profiles: &mut Profiles<'_>,
        site: &dyn Surroundings,
    ) -> Result<Agreements, Vec<Fault>> {
        let loaded = Agreements::load_for(files, required);
        let mut faults: Vec<Fault> = Vec::new();
        for (file, text) in files {
            let read = loaded.as_ref().err().into_iter().flatten().filter(|fault| fault.file == *file).cloned();
            faults.extend(joined(read.collect(), lint(file, text, profiles, site)));
        }
        if faults.is_empty() { loaded } else { Err(faults) }
    }

    /// Counts approvals as the store keeps them.
    pub fn count(&self, approvals: &[Approval]) {
        for approval in approvals {
            self.list.iter().for_each(|agreement| {
                agreement.count(approval);
            });
        }
    }

    /// What differs in `next`, by the hashes of the files: what went, then what came.
    pub fn changes_to(&self, next: &Agreements) -> Vec<AgreementChange> {
        let has = |list: &Agreements, hash| list.iter().any(|agreement| agreement.hash == hash);
        let change = |agreement: &Arc<Agreement>, came| AgreementChange {
            agreement: agreement.id.clone(),
            version: agreement.version.clone(),
            file: agreement.hash,
            came,
        };
        let went = self.iter().filter(|agreement| !has(next, agreement.hash)).map(|agreement| change(agreement, false));
        let came = next.iter().filter(|agreement| !has(self, agreement.hash)).map(|agreement| change(agreement, true));
        went.chain(came).collect()
    }

    /// How many are in force at `instant`.
    pub fn count_in_force(&self, instant: Instant) -> usize {
        self.iter().filter(|agreement| agreement.not_in_force(instant).is_none()).count()
    }

    /// All of them, in the order they were given.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Agreement>> {
        self.list.iter()
    }

    /// The agreement with `id` that is in force at `instant`, or else the last one given with that id.
    pub fn named(&self, id: &AgreementId, instant: Instant) -> Option<&Arc<Agreement>> {
        let mut versions = self.list.iter().filter(|agreement| agreement.id == *id);
        let in_force = versions.clone().find(|agreement| agreement.not_in_force(instant).is_none());
        in_force.or_else(|| versions.next_back())
    }

    /// The version of the agreement with `id` under which something was shared at `instant`; where the site no longer has
    /// it, the one that [`Agreements::named`] gives.
    pub fn version(&self, id: &AgreementId, version: Option<&str>, instant: Instant) -> Option<&Arc<Agreement>> {
        let that = self.list.iter().find(|agreement| agreement.id == *id && Some(&*agreement.version) == version);
        that.or_else(|| self.named(id, instant))
    }

    /// The agreement under which `sender` may send to `recipient` over `interface` at `instant`.
    ///
    /// # Errors
    /// [`Error::NoAgreement`] if none covers the three, [`Error::NotInForce`] if one does but not now.
    pub fn in_force(
        &self,
        sender: &PartyId,
        recipient: &PartyId,
        interface: &InterfaceName,
        instant: Instant,
    ) -> Result<&Arc<Agreement>, Error> {
        let covering = |agreement: &&Arc<Agreement>| {
            agreement.controller.ods == *sender
                && agreement.recipient.ods == *recipient
                && agreement.interfaces.contains_key(interface)
        };
        let mut last = None;
        for agreement in self.list.iter().filter(covering) {
            match agreement.not_in_force(instant) {
                None => return Ok(agreement),
                Some(why) => last = Some((agreement, why)),
            }
        }
        Err(match last {
            Some((agreement, why)) => {
                Error::NotInForce { agreement: agreement.id.clone(), version: agreement.version.clone(), why }
            }
            None => Error::NoAgreement {
                sender: sender.clone(),
                recipient: recipient.clone(),
                interface: interface.clone(),
            },
        })
    }
}

/// The faults of a file by place. Where reading it found one too, the one that says what to write instead is kept.
fn joined(read: Vec<Fault>, linted: Vec<Fault>) -> Vec<Fault> {
    let mut faults = read;
    let already = faults.len();
    for fault in linted {
        let place = (fault.line, fault.column);
        match faults[..already].iter_mut().find(|other| (other.line, other.column) == place) {
            Some(other) if other.hint.is_empty() && !fault.hint.is_empty() => *other = fault,
            Some(_) => {}
            None => faults.push(fault),
        }
    }
    faults.sort_by_key(|fault| (fault.line, fault.column));
    faults
}

/// An agreement with the file it came from.
struct Loaded<'a> {
    file: &'a str,
    text: &'a str,
    /// Where the file gives the id.
    id_at: Range<usize>,
    agreement: Arc<Agreement>,
}

/// Two files that say something about the same sharing at the same time, or that carry the same id and version.
fn overlaps(list: &[Loaded<'_>]) -> Vec<Fault> {
    let mut faults = Vec::new();
    for (index, one) in list.iter().enumerate() {
        for other in &list[..index] {
            faults.extend(overlap(one, other).map(|text| Fault::new(one.file, one.text, one.id_at.clone(), text)));
        }
    }
    faults
}

fn overlap(one: &Loaded<'_>, other: &Loaded<'_>) -> Option<String> {
    let (file, one, other) = (other.file, &one.agreement, &other.agreement);
    if one.id == other.id && one.version == other.version {
        return Some(format!("{file} has the same id and version"));
    }
    let active = one.status == Status::Active && other.status == Status::Active;
    let shared = one.interfaces.keys().find(|name| other.interfaces.contains_key(*name));
    let name = shared.filter(|_| active && one.overlaps(other))?;
    let same = if one.purpose.code == other.purpose.code { " and purpose" } else { "" };
    Some(format!("{file} is active between the same parties{same} for {name} at the same time; end or suspend one"))
}
