//! Controls and people that an agreement relies on and the site does not have.

use super::Lint;
use crate::disclosure::agreement::{NamedRole, written};
use crate::fhirpath::nearest;
use crate::identity::PartyId;
use crate::identity::tls::TlsVersion;

/// How messages reach a partner.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lane {
    /// The lowest TLS version that is spoken.
    pub minimum_tls: TlsVersion,
    /// Whether only pinned keys are accepted.
    pub is_pinned: bool,
}

/// Someone who acts at the site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrincipalFacts {
    /// The roles that the site gives them, as weir.toml writes them: `caldicott-guardian`.
    pub roles: Vec<String>,
    /// Whether the site knows a key that they sign with.
    pub signs: bool,
}

impl Lint<'_, '_> {
    /// What the agreement promises of the way to the recipient, and of keys, is so.
    pub(super) fn controls(&mut self, written: &written::Agreement) {
        let Ok(recipient) = written.recipient.ods.get_ref().parse::<PartyId>() else { return };
        if let Some(lane) = self.site.lane(&recipient) {
            self.minimum_tls(written, lane, &recipient);
            if *written.controls.pinning.get_ref() && !lane.is_pinned {
                let text = format!("pinning is promised, but the partner file of {recipient} pins no key");
                let hint = "write spki_pins in the partner file, or set pinning = false";
                self.faults.add_with_hint(written.controls.pinning.span(), text, hint);
            }
        }
        let keys = self.site.pseudonym_keys();
        for interface in written.interfaces.get_ref().values() {
            for generalise in interface.get_ref().generalise.iter().map(|each| each.get_ref()) {
                let Some(key) = generalise.key.as_ref().filter(|key| !keys.contains(&key.get_ref().as_str())) else {
                    continue;
                };
                let text = format!("the site has no pseudonym key {:?}", key.get_ref());
                let hint = nearest(key.get_ref(), keys.iter().map(|&key| key.to_owned()));
                let hint = if hint.is_empty() { "add it to [pseudonym_keys] of weir.toml".to_owned() } else { hint };
                self.faults.add_with_hint(key.span(), text, hint);
            }
        }
    }

    fn minimum_tls(&mut self, written: &written::Agreement, lane: Lane, recipient: &PartyId) {
        let minimum = &written.controls.minimum_tls;
        let Ok(promised) = minimum.get_ref().parse::<TlsVersion>() else { return };
        if lane.minimum_tls < promised {
            let spoken = lane.minimum_tls;
            let text = format!("TLS {promised} is promised, but the partner file of {recipient} allows TLS {spoken}");
            let hint = format!("write minimum_tls = \"{promised}\" in the partner file, or promise less");
            self.faults.add_with_hint(minimum.span(), text, hint);
        }
    }

    /// Those who act under the agreement are known to the site, in the role that they have here; those who approve it
    /// can sign.
    pub(super) fn people(&mut self, written: &written::Agreement) {
        let approves = |role: NamedRole| written.approval.by.get_ref().iter().any(|by| by.get_ref() == role.word());
        let known = self.site.principals();
        if known.is_empty() {
            return;
        }
        for (role, person) in written.roles.get_ref().filled() {
            let Some(id) = &person.get_ref().principal else {
                if approves(role) {
                    let text = format!("the {role} approves the agreement, but no principal says who that is");
                    let hint = "write principal = \"…\", the id of one of [[principals]] in weir.toml";
                    self.faults.add_with_hint(person.span(), text, hint);
                }
                continue;
            };
            let Some(facts) = self.site.principal(id.get_ref()) else {
                let hint = nearest(id.get_ref(), known.iter().cloned());
                self.faults.add_with_hint(id.span(), format!("the site has no principal {:?}", id.get_ref()), hint);
                continue;
            };
            let needed = role.code().to_owned();
            if !facts.roles.contains(&needed) {
                let text = format!("{} is the {role} here, but has not the role {needed} at the site", id.get_ref());
                self.faults.add_with_hint(id.span(), text, "correct the role in weir.toml, or name someone else");
            }
            if approves(role) && !facts.signs {
                let text = format!("{} approves the agreement, but the site knows no key of theirs", id.get_ref());
                self.faults.add_with_hint(id.span(), text, "add their public key to weir.toml");
            }
        }
    }
}
