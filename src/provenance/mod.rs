//! Stage 5: what may leave gets its account, and becomes [`Attested`].
//!
//! Enters: a [`Disclosable`] and the time. Leaves: the same with a FHIR Provenance (who shared what, when, under which
//! agreement, from which record by which map, and the gateway's signature over the SHA-256 of the Bundle's bytes) and the
//! [`Lineage`] of every element. Invariant: neither holds a value of the record; the record and the map are named by digest, who decided to share without consent by where that is recorded.

mod explain;
mod lineage;
mod stored;

pub use explain::explain;
pub use lineage::{Clause, Held, Left, Lineage, Rule, Version};
pub use stored::{Unreadable, glossary_of, lineage};

use std::sync::Arc;

use uuid::Uuid;

use crate::disclosure::Disclosable;
use crate::fhir::provenance::{Device, Disclosure, Entity, Organization, Participation, Person, Role};
use crate::fhir::{Instant, Node, instant_text, keys};
use crate::identity::digest::{hex, sha_256};
use crate::identity::keyed_hash::HashKey;
use crate::identity::signature::{KindsApart, PersonalKey};
use crate::identity::{MessageId, PartyId};
use crate::intake::Received;
use crate::storage::Text;

use stored::Glossaries;

/// The gateway, as a Provenance names it.
#[derive(Clone, Debug)]
pub struct Gateway {
    /// The organisation that runs it.
    pub ods: PartyId,
    /// Its name.
    pub name: String,
    /// The version of its software.
    pub version: String,
    keys: Arc<Keys>,
    glossaries: Arc<Glossaries>,
}

/// What the gateway's accounts are signed and made with.
#[derive(Debug)]
pub struct Keys {
    /// The public half of the signing key as it is published: `name+id+base64`.
    pub published: String,
    /// Signs each Bundle that leaves.
    pub signing: PersonalKey,
    /// What the signing key is called where it is published.
    pub kid: String,
    /// Makes the hash that stands for a record.
    pub hashes: HashKey,
}

impl Gateway {
    /// The gateway of an organisation, with the version of its software and its keys.
    pub fn new(ods: PartyId, name: impl Into<String>, version: impl Into<String>, keys: Keys) -> Gateway {
        let (name, version, keys) = (name.into(), version.into(), Arc::new(keys));
        Gateway { ods, name, version, keys, glossaries: Arc::default() }
    }
}

impl Gateway {
    /// The public half of the key that signs each Bundle, as it is published: `name+id+base64`.
    pub fn published_key(&self) -> &str {
        &self.keys.published
    }
}

/// A Bundle that may leave, with the account of why.
///
/// Only [`attest`] makes one, so holding it proves that the disclosure can be explained.
#[derive(Debug)]
pub struct Attested {
    disclosable: Disclosable,
    provenance: String,
    lineage: Vec<u8>,
    glossary: Arc<Text>,
}

impl Attested {
    /// The Bundle, its agreement and its manifest.
    pub fn disclosable(&self) -> &Disclosable {
        &self.disclosable
    }

    /// The record it all began with.
    pub fn received(&self) -> &Received {
        self.disclosable.validated().mapped().received()
    }

    /// The Bundle as it is sent: FHIR JSON.
    pub fn bundle_bytes(&self) -> &[u8] {
        self.disclosable.bundle().source().as_bytes()
    }

    /// The FHIR Provenance, as JSON.
    pub fn provenance(&self) -> &str {
        &self.provenance
    }

    /// The [`Lineage`] as it is stored.
    pub fn lineage_bytes(&self) -> &[u8] {
        &self.lineage
    }

    /// What the stored lineage names by number.
    pub fn glossary(&self) -> &Arc<Text> {
        &self.glossary
    }

    /// The lineage in full.
    pub fn lineage(&self) -> Lineage {
        stored::shown(&self.lineage, &self.glossary.bytes).expect("it was written so")
    }
}

/// What the signature of a Bundle is signed as: `typ` of its header.
pub const KINDS: KindsApart<'_> = KindsApart { of_digest: "weir-bundle-sha-256", of_content: "weir-bundle" };
/// What a Provenance calls the software that built the Bundle.
const GATEWAY: &str = "Weir";

/// The purpose of a decision, in words.
const WITHOUT_CONSENT: &str = "shared without consent, on a recorded decision that is reviewed";

/// The id of the Provenance of a message.
pub fn id_of(message: MessageId) -> Uuid {
    message.part("provenance")
}

/// Writes the account of a disclosure.
pub fn attest(disclosable: Disclosable, now: Instant, gateway: &Gateway) -> Attested {
    let glossary = gateway.glossaries.of(&disclosable);
    let lineage = stored::write(&disclosable, &glossary);
    let provenance = provenance(&disclosable, now, gateway);
    Attested { disclosable, provenance, lineage, glossary }
}

fn provenance(disclosable: &Disclosable, now: Instant, gateway: &Gateway) -> String {
    let (agreement, mapped) = (disclosable.agreement(), disclosable.validated().mapped());
    let message = mapped.received().message();
    let hash = gateway.keys.hashes.record(&mapped.received().digest());
    let policy =
        format!("urn:weir:agreement:{}:{}:sha-256:{}", agreement.id(), agreement.version(), hex(&agreement.hash()));
    let record = format!("urn:weir:record:{message}:hmac-sha-256:{}", hash.as_str());
    let map = format!("urn:weir:map:sha-256:{}", hex(&mapped.map().hash()));
    let decided = format!("urn:weir:decision:{message}");
    let (id, bundle) = (id_of(message), bundle_id(disclosable));
    let says = [("provenance", &*id.to_string()), ("recorded", &instant_text(now)), ("policy", &policy)];
    let digest = sha_256(disclosable.bundle().source().as_bytes());
    let signature = gateway.keys.signing.sign_digest((KINDS.of_digest, &gateway.keys.kid), &says, &digest);
    let disclosure = Disclosure {
        id,
        bundle: &bundle,
        recorded: now,
        policy: &policy,
        purposes: &purposes(disclosable),
        people: &people(disclosable, &decided),
        author: Organization { ods: agreement.controller().ods.as_str(), name: &agreement.controller().name },
        gateway: Device { owner: gateway.ods.as_str(), name: GATEWAY, version: &gateway.version },
        entities: &[
            Entity { role: Role::Source, uri: &record, display: "the record as received" },
            Entity { role: Role::Derivation, uri: &map, display: &stored::map_name(mapped) },
            Entity {
                role: Role::Derivation,
                uri: disclosable.validated().profile_version(),
                display: "the profile it conforms to",
            },
        ],
        signature: &signature,
    };
    disclosure.to_json()
}

/// What for: the agreement's purpose; before it that of a decision to share without consent.
fn purposes(disclosable: &Disclosable) -> Vec<(&str, &str)> {
    let agreed = disclosable.agreement().purpose();
    let decided = disclosable.ground().decision().map(|decision| (decision.purpose.as_str(), WITHOUT_CONSENT));
    decided.into_iter().chain([(agreed.code.as_str(), agreed.words.as_str())]).collect()
}

/// Who answers for sharing without consent: whoever decided, whom the sealed decision names, and whoever reviews that.
fn people<'a>(disclosable: &'a Disclosable, decided: &'a str) -> Vec<Person<'a>> {
    if disclosable.ground().decision().is_none() {
        return Vec::new();
    }
    let name = "whoever decided: the decision names them";
    let decided = Person { part: Participation::Legal, name, uri: Some(decided) };
    let reviewer = disclosable.interface().and_then(|interface| interface.override_rule()).and_then(|terms| {
        let person = disclosable.agreement().roles().person(terms.reviewer)?;
        Some(Person { part: Participation::Verifier, name: &person.name, uri: None })
    });
    std::iter::once(decided).chain(reviewer).collect()
}

/// The id of the Bundle as it leaves; the message's own id where the agreement holds the Bundle's back.
fn bundle_id(disclosable: &Disclosable) -> String {
    let id = disclosable.bundle().root().child(keys().id).and_then(Node::text);
    id.map_or_else(|| disclosable.validated().mapped().received().message().to_string(), |id| id.into_owned())
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;

    use super::*;
    use crate::disclosure::sample_facts::SampleFacts;
    use crate::disclosure::{self, Agreements, Error};
    use crate::fhir::outcome::{Issue, IssueType};
    use crate::fhir::{Document, ElementPath, Kind, Limits};
    use crate::intake::{self, Submission};
    use crate::mapping::{self, CompiledMap, MapFile, Mapped, Mappings};
    use crate::validation::{self, Validated, Validator};

    const RECORD: &str = include_str!("../../demo/records/crisis-escalation-complete.json");

    fn mapped(record: &str) -> Mapped {
        let submission = Submission {
            sender: "DEMOP".parse().expect("an ODS code"),
            by: None,
            interface: "crisis-escalation".parse().expect("a name"),
            content_type: Some("application/json".to_owned()),
            idempotency_key: None,
            body: record.into(),
            received_at: time::macros::datetime!(2026-03-04 00:00 UTC),
        };
        let received = intake::receive(
            submission,
            intake::Terms { limits: &Limits::default(), reads: intake::Reads::Record, model: None, identified_by: &[] },
            |_| vec![],
        )
        .expect("it is received");
        let files = [
            ("crisis-escalation.map", include_str!("../../mappings/crisis-escalation.map")),
            ("minimum-dataset.map", include_str!("../../mappings/minimum-dataset.map")),
        ];
        let files = files.map(|(name, text)| MapFile { name: name.to_owned(), text: text.to_owned() });
        let model = include_str!("../../profiles/StructureDefinition-CrisisEscalationRecord.json");
        let model = Document::parse(model, &Limits::default()).expect("it is JSON");
        let map = CompiledMap::compile(&files, &[model]).expect("the map is sound");
        let mappings: Mappings = [(received.interface().clone(), Arc::new(map))].into_iter().collect();
        mapping::apply(&mappings, received).expect("it is mapped")
    }

    fn agreements() -> Agreements {
        let files = [
            include_str!("../../agreements/demo-trust-crisis.toml"),
            include_str!("../../agreements/demo-icb-crisis.toml"),
        ];
        let files: Vec<_> = files.iter().map(|&text| ("agreement.toml".to_owned(), text.to_owned())).collect();
        let agreements = Agreements::load_for(&files, &SampleFacts::new()).expect("the agreements are sound");
        crate::disclosure::approve_all(&agreements);
        agreements
    }

    fn gateway() -> Gateway {
        let signing = PersonalKey::from_seed(&[7; 32]).expect("any seed does");
        let keys = Keys {
            signing,
            published: String::new(),
            kid: "weir.example/DEMOP+00000000".to_owned(),
            hashes: HashKey::new(&[8; 32]),
        };
        Gateway::new("DEMOP".parse().expect("an ODS code"), "Weir", "0.1.0", keys)
    }

    /// Validated against base R4 alone.
    fn validated(record: &str) -> Validated {
        let validator = Validator::compile(&[]).expect("base R4 compiles");
        let bundle = "http://hl7.org/fhir/StructureDefinition/Bundle";
        validation::check(&validator, bundle, mapped(record)).expect("the Bundle is R4")
    }

    fn attested() -> Attested {
        let validated = validated(RECORD);
        let projected = disclosure::minimise(&agreements(), validated).expect("an agreement is in force");
        let disclosable = projected.revalidated(|_| vec![]).expect("nobody objects");
        attest(disclosable, time::macros::datetime!(2026-03-04 00:01 UTC), &gateway())
    }

    #[test]
    fn every_element_that_left_is_accounted_for() {
        let attested = attested();
        let lineage = attested.lineage();
        let sent = attested.disclosable().bundle();
        let leaves = sent.nodes().filter(|node| node.scalar().is_some()).count();
        assert_eq!(leaves, lineage.left.len() + lineage.generated.len());
        assert!(lineage.left.iter().all(|row| row.rule.is_some()), "every element has its rule");
        let birth = lineage.left.iter().find(|row| row.path.ends_with(".birthDate")).expect("the birth date left");
        assert_eq!(birth.from, ["person.birthDate"]);
        let clause = &lineage.clauses[birth.clause.expect("a clause let it pass") as usize];
        assert_eq!((&*clause.resource, &*clause.category), ("Patient", "identity"));
        assert!(lineage.withheld.iter().all(|row| !row.path.is_empty() && !row.why.is_empty()));
    }

    #[test]
    fn an_element_takes_few_bytes() {
        let attested = attested();
        let (lineage, bytes) = (attested.lineage(), attested.lineage_bytes().len());
        let elements = lineage.left.len() + lineage.generated.len() + lineage.withheld.len();
        assert!(elements > 300 && bytes < elements * 12, "{bytes} bytes for {elements} elements");
        let json = lineage.to_json(true).to_string().len();
        assert!(bytes * 8 < json, "{bytes} bytes where JSON takes {json}");
    }

    #[tokio::test]
    async fn a_lineage_is_read_back_with_its_glossary_and_one_of_before_without() {
        use crate::storage::suite::{event, message};
        use crate::storage::{Accepted, NewMessage, Secret, SqliteStore, Store as _};
        let folder = tempfile::tempdir().expect("a folder");
        let store = SqliteStore::open(&folder.path().join("weir.db"), &Secret::generate()).expect("it opens");
        let accept = async |number, lineage: Vec<u8>, glossary: &Arc<Text>| {
            let new = NewMessage { lineage, glossary: glossary.clone(), ..message(number) };
            let (id, events) = (new.id, vec![event(Some(new.id), "accepted")]);
            assert_eq!(store.accept(new, events).await, Ok(Accepted::New));
            super::lineage(&store, id).await
        };
        let (attested, other) = (attested(), Arc::new(Text { digest: [1; 32], bytes: b"{}".to_vec() }));
        let (whole, written) = (attested.lineage(), attested.lineage_bytes().to_vec());
        let unread = accept(1, written.clone(), &other).await.expect_err("its glossary is not there");
        assert!(unread.to_string().starts_with("the texts that the lineage of message"), "{unread}");
        let found = accept(2, written.clone(), attested.glossary()).await.expect("it is read");
        assert_eq!(found.as_ref(), Some(&whole));
        let json = serde_json::to_vec(&whole).expect("it is JSON");
        assert_eq!(accept(3, json, &other).await.expect("it is read"), found, "as earlier versions kept it");
        for damaged in [b"nothing".to_vec(), written[..written.len() - 9].to_vec(), vec![]] {
            let number = 4 + damaged.len() as u32;
            assert!(matches!(accept(number, damaged, attested.glossary()).await, Err(Unreadable::Lineage(_))));
        }
        assert!(matches!(super::lineage(&store, message(9).id).await, Ok(None)));
    }

    #[test]
    fn the_account_holds_no_value_of_the_record() {
        let attested = attested();
        let account = format!("{}{}", attested.lineage().to_json(true), attested.provenance());
        let record = Document::parse(RECORD, &Limits::default()).expect("it is JSON");
        let provider = ["Demonstration Community Mental Health", "DEMOP"];
        let texts = record.nodes().filter(|node| node.kind() == Kind::String).filter_map(|node| node.text());
        let found: Vec<_> = texts
            .filter(|text| text.len() > 6 && !provider.contains(&&**text))
            .filter(|text| account.contains(&format!("\"{text}\"")))
            .collect();
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn a_provenance_names_agreement_record_and_map_by_digest() {
        let attested = attested();
        let mapped = attested.disclosable().validated().mapped();
        for part in [
            format!(
                "urn:weir:agreement:demo-trust-crisis:1:sha-256:{}",
                hex(&attested.disclosable().agreement().hash())
            ),
            format!(
                "urn:weir:record:{}:hmac-sha-256:{}",
                mapped.received().message(),
                HashKey::new(&[8; 32]).record(&mapped.received().digest()).as_str()
            ),
            format!("urn:weir:map:sha-256:{}", hex(&mapped.map().hash())),
            format!("\"target\":[{{\"reference\":\"urn:uuid:{}\"}}]", bundle_id(attested.disclosable())),
            "\"code\":\"ETREAT\"".to_owned(),
            "\"recorded\":\"2026-03-04T00:01:00.000Z\"".to_owned(),
        ] {
            assert!(attested.provenance().contains(&part), "{part} in {}", attested.provenance());
        }
        assert!(attested.bundle_bytes().starts_with(b"{\"resourceType\":\"Bundle\""));
    }

    #[test]
    fn a_lineage_reads_as_a_tree() {
        let lineage = attested().lineage();
        let text = explain(&lineage, true);
        for part in [
            "agreement demo-trust-crisis version 1, sha-256 ",
            "Patient, identity: the crisis team must know whom to help",
            "    birthDate ← person.birthDate, rule ",
            "(ServiceRequest): not permitted",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn what_cannot_leave_is_refused() {
        let minimise = |record: &str| disclosure::minimise(&agreements(), validated(record));
        let stranger = RECORD.replace("\"DEMOT\"", "\"DEMOX\"");
        assert!(
            matches!(minimise(&stranger), Err(Error::NoAgreement { recipient, .. }) if recipient.as_str() == "DEMOX")
        );
        let unnamed = RECORD.replace("\"odsCode\": \"DEMOT\",", "");
        assert!(matches!(minimise(&unnamed), Err(Error::RecipientUnknown)));
        let issue = Issue::error(IssueType::Required, "it is missing").at(ElementPath::new("Bundle.timestamp"));
        let refused = minimise(RECORD).expect("an agreement is in force").revalidated(|cut| {
            assert_eq!(cut.profile, "https://weir.example/fhir/StructureDefinition/weir-crisis-escalation-bundle");
            assert_eq!(cut.bundle.resource_type(), Some("Bundle"));
            vec![issue]
        });
        assert!(matches!(refused, Err(Error::Invalid { issues, .. }) if issues.len() == 1));
    }

    /// The demonstration's agreement without some of what it permits, by place: of each `keep` the next says whether.
    fn without(keep: &[bool]) -> String {
        let text = include_str!("../../agreements/demo-trust-crisis.toml");
        let mut agreement: toml::Table = text.parse().expect("it is TOML");
        let mut keep = keep.iter().copied().cycle();
        let permits = agreement["interfaces"]["crisis-escalation"]["permit"].as_array_mut().expect("permits");
        for permit in permits {
            permit["elements"].as_array_mut().expect("elements").retain(|_| keep.next().expect("it cycles"));
        }
        agreement.to_string()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]

        /// Debug builds compare on every message; here what is withheld leaves Bundles that are no longer valid.
        #[test]
        fn what_is_left_is_found_as_valid_as_a_whole_validation_finds_it(
            keep in prop::collection::vec(prop::bool::weighted(0.97), 500),
            tell: bool,
        ) {
            thread_local! {
                static VALIDATOR: Validator = Validator::compile(&crate::config::definitions(&[]).expect("they are JSON")).expect("they compile");
            }
            let mut text = without(&keep);
            for told in ["tell_withheld", "list_withheld"] {
                text = text.replace(&format!("{told} = true"), &format!("{told} = {tell}"));
            }
            let agreements = Agreements::load_for(&[("a.toml".to_owned(), text)], &SampleFacts::new()).expect("it is sound");
            crate::disclosure::approve_all(&agreements);
            VALIDATOR.with(|validator| {
                let profile = "https://weir.example/fhir/StructureDefinition/weir-crisis-escalation-bundle";
                let validated = validation::check(validator, profile, mapped(RECORD)).expect("it is valid");
                let Ok(projected) = disclosure::minimise(&agreements, validated) else { return };
                let mut found = (Vec::new(), Vec::new());
                let _refused_or_not = projected.revalidated(|cut| {
                    found.0 = validator.recheck(cut);
                    found.1 = validator.check_document(cut.bundle, Some(cut.profile));
                    found.1.retain(Issue::is_error);
                    found.0.clone()
                });
                assert_eq!(found.0, found.1);
            });
        }
    }

    /// Every string of the demonstration's Bundle, save those that hold it together, becomes a canary.
    #[test]
    fn no_canary_leaves_that_no_clause_lists() {
        let mapped = mapped(RECORD);
        let full = mapped.bundle();
        let frame = ["resourceType", "fullUrl", "reference", "url"];
        let (mut text, mut at) = (String::new(), 0);
        for leaf in full.nodes().filter(|node| node.kind() == Kind::String) {
            let path = leaf.path().to_string();
            if frame.iter().any(|name| path.ends_with(name)) || path.contains(".meta.profile") {
                continue;
            }
            text.push_str(&full.source()[at..leaf.offset()]);
            text.push_str(&format!("\"canary-{}-\"", leaf.id().index()));
            at = leaf.offset() + leaf.raw().len();
        }
        text.push_str(&full.source()[at..]);
        let planted = Document::parse(text, &Limits::default()).expect("it is JSON");
        for agreement in agreements().iter() {
            let name = mapped.received().interface();
            let (sent, manifest) = disclosure::project(&planted, agreement, name).expect("it is a Bundle");
            let clauses = agreement.interface(name).expect("it is covered").clauses();
            let mut held = 0;
            for leaf in planted.nodes().filter(|node| node.raw().starts_with("\"canary-")) {
                let left = sent.source().contains(leaf.raw().trim_matches('"'));
                let clause = manifest.kept().iter().find(|row| row.node == leaf.id()).and_then(|row| row.clause);
                let element = leaf.path().to_string();
                let below = element.split_once(".resource.").map_or("", |(_, below)| below);
                let below = below.split(['[', ']']).step_by(2).collect::<String>();
                let listed = clause.is_some_and(|clause| {
                    let without_urls = |path: &str| path.split(['(', ')']).step_by(2).collect::<String>();
                    clauses[clause as usize]
                        .elements
                        .iter()
                        .any(|listed| without_urls(listed) == below || format!("Bundle.{listed}") == element)
                });
                assert!(!left || listed || element == "Bundle.type", "{element} left");
                held += usize::from(!left);
            }
            assert!(held > 5, "something is withheld");
        }
    }
}
