//! The words of an agreement file that stand for a choice: each an enum that reads and prints its own spelling.

use std::fmt;
use std::str::FromStr;

use super::fault::one_of;

/// An enum whose variants are written as one word each.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident, $what:literal, { $($(#[$doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name {
            $($(#[$doc])* $variant,)+
        }

        impl $name {
            /// All of them, in the order of the documentation.
            pub const ALL: &'static [$name] = &[$($name::$variant),+];

            /// As it is written in the file.
            pub fn word(self) -> &'static str {
                match self {
                    $($name::$variant => $word,)+
                }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }

        impl FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<$name, String> {
                let found = $name::ALL.iter().copied().find(|each| each.word() == text);
                found.ok_or_else(|| format!("{} must be {}", $what, one_of($name::ALL)))
            }
        }
    };
}

words!(
    /// Where an agreement version stands.
    Status, "the status", {
        /// Being written or reviewed; nothing leaves under it.
        Draft = "draft",
        /// In use between its dates.
        Active = "active",
        /// Stopped for now; nothing leaves under it.
        Suspended = "suspended",
        /// Over; nothing leaves under it.
        Ended = "ended",
    }
);

words!(
    /// Who answers for what in an agreement.
    NamedRole, "the role", {
        /// Protects the confidentiality of people's information.
        CaldicottGuardian = "caldicott_guardian",
        /// Senior information risk owner.
        Siro = "siro",
        /// Leads on information governance.
        IgLead = "ig_lead",
        /// Runs the service that shares.
        OperationalOwner = "operational_owner",
        /// Runs the gateway.
        TechnicalAdministrator = "technical_administrator",
        /// Reviews sharing without consent.
        SafeguardingLead = "safeguarding_lead",
    }
);

impl NamedRole {
    /// The same role of a principal of the site: `caldicott-guardian`.
    pub fn code(self) -> &'static str {
        match self {
            NamedRole::CaldicottGuardian => "caldicott-guardian",
            NamedRole::Siro => "siro",
            NamedRole::IgLead => "ig-lead",
            NamedRole::OperationalOwner => "operational-owner",
            NamedRole::TechnicalAdministrator => "technical-administrator",
            NamedRole::SafeguardingLead => "safeguarding-lead",
        }
    }
}

words!(
    /// What Weir does about a risk that the DPIA names.
    Control, "the control", {
        /// What no permit lists does not leave.
        DefaultDeny = "default-deny",
        /// The lane refuses an older TLS than `controls.minimum_tls`.
        MinimumTls = "minimum-tls",
        /// The lane refuses a partner whose key is not pinned (`controls.pinning`).
        Pinning = "pinning",
        /// Stored payloads are sealed (`controls.encryption_at_rest`).
        EncryptionAtRest = "encryption-at-rest",
        /// Stored payloads are erased after `retention_days`.
        Retention = "retention",
        /// Everything that leaves is in the audit log.
        Audit = "audit",
        /// The consent rule of the interfaces.
        Consent = "consent",
        /// Sharing without consent is reviewed before a deadline (`override`).
        OverrideReview = "override-review",
        /// Elements leave less exact than they are (`generalise`).
        Generalisation = "generalisation",
        /// Only people with a role may act.
        Roles = "roles",
    }
);

words!(
    /// How bad an incident is.
    Severity, "the severity", {
        /// Someone may come to harm, or many records are concerned.
        Critical = "critical",
        /// The agreement was broken.
        Major = "major",
        /// A rule was broken without consequence.
        Minor = "minor",
    }
);

words!(
    /// What the person must have said before anything leaves.
    ConsentRule, "the consent rule", {
        /// Nothing leaves unless the record carries the person's consent.
        Explicit = "explicit",
        /// Implied for direct care, until the person objects.
        Implied = "implied",
        /// Not required: the agreement names the ground.
        NotRequired = "not-required",
    }
);

words!(
    /// What an objection does.
    Objection, "objection", {
        /// Nothing leaves.
        Refuse = "refuse",
        /// Nothing leaves without a recorded decision to share all the same.
        Override = "override",
        /// It stops nothing, and is in the audit log. Only where consent is not required.
        Record = "record",
    }
);

words!(
    /// A ground on which a decision to share without consent may stand.
    OverrideBasis, "the basis of an override", {
        /// Someone's life or limb is in danger.
        VitalInterests = "vital-interests",
        /// A child or an adult at risk must be protected.
        Safeguarding = "safeguarding",
        /// The public interest outweighs confidence.
        PublicInterest = "public-interest",
        /// A statute requires it.
        Statute = "statute",
    }
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_word_reads_as_what_prints_it() {
        for role in NamedRole::ALL {
            assert_eq!(role.word().parse(), Ok(*role));
            assert!(role.code().parse::<crate::identity::principal::Role>().is_ok(), "{role}");
        }
        let wrong: Result<Objection, String> = "ignore".parse();
        assert_eq!(wrong, Err("objection must be refuse, override or record".to_owned()));
        let wrong: Result<Status, String> = "on".parse();
        assert_eq!(wrong, Err("the status must be draft, active, suspended or ended".to_owned()));
    }
}
