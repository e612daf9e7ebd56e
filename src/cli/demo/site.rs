//! Makes the sample site: certificates, keys, configuration, agreements, records.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::Context as _;
use include_dir::{Dir, include_dir};

use crate::acts::{Act, Deed, spool};
use crate::audit::checkpoint::SigningKey;
use crate::cli::loopback;
use crate::config::Site;
use crate::identity::PartyId;
use crate::identity::digest::hex;
use crate::identity::issuance::{Authority, Issued, Validity};
use crate::identity::signature::PersonalKey;
use crate::server::clock;
use crate::storage::Secret;
use crate::storage::files::{Readers, write_durably};

static RECORDS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/demo/records");
static AGREEMENTS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/agreements");
/// The name of the demo's audit log.
const ORIGIN: &str = "audit.weir.example/demo";
const GATEWAY: &str = include_str!("../../../demo/site/weir.toml");
const ROUTE: &str = include_str!("../../../demo/site/route.toml");
const PARTNER: &str = include_str!("../../../demo/site/partner.toml");

/// The interface of the records that stand in no folder of an interface.
const FIRST: &str = "crisis-escalation";
/// The folder of the records that the gateway is to refuse.
const REJECTED: &str = "rejected";

/// A record of the demo.
#[derive(Debug)]
pub(super) struct Sample {
    /// The interface that it is for.
    pub(super) interface: &'static str,
    /// Its file, below the folder of records.
    pub(super) name: String,
    /// Its content.
    pub(super) record: &'static str,
    /// Whether the gateway is to refuse it.
    pub(super) is_to_be_refused: bool,
}

/// The demo's records: the ones of the first interface, then those in the folder of each other; in each the ones to be
/// refused last.
pub(super) fn samples() -> Vec<Sample> {
    let others = RECORDS.dirs().filter_map(|folder| Some((folder.path().file_name()?.to_str()?, folder)));
    let others = others.filter(|(name, _)| *name != REJECTED);
    let mut samples: Vec<Sample> = std::iter::once((FIRST, &RECORDS))
        .chain(others)
        .flat_map(|(interface, folder)| {
            let refused = folder.dirs().filter(|inner| inner.path().ends_with(REJECTED));
            let folders = std::iter::once((folder, false)).chain(refused.map(|inner| (inner, true)));
            folders.flat_map(move |(folder, is_to_be_refused)| samples_in(folder, interface, is_to_be_refused))
        })
        .collect();
    let order =
        |sample: &Sample| (sample.interface != FIRST, sample.interface, sample.is_to_be_refused, sample.name.clone());
    samples.sort_by_key(order);
    samples
}

fn samples_in(
    folder: &'static Dir<'static>,
    interface: &'static str,
    is_to_be_refused: bool,
) -> impl Iterator<Item = Sample> {
    let records = folder.files().filter(|file| file.path().extension().is_some_and(|extension| extension == "json"));
    records.filter_map(move |file| {
        // A record of the first interface goes by its bare name, also when it is to be refused.
        let path = if interface == FIRST { Path::new(file.path().file_name()?) } else { file.path() };
        Some(Sample { interface, name: path.to_str()?.to_owned(), record: file.contents_utf8()?, is_to_be_refused })
    })
}

struct Partner {
    folder: &'static str,
    ods: &'static str,
    name: &'static str,
    service: &'static str,
}

const PARTNERS: [Partner; 3] = [
    Partner { folder: "trust", ods: "DEMOT", name: "Demo NHS Trust (synthetic)", service: "2000099991" },
    Partner { folder: "icb", ods: "DEMOI", name: "Demo Integrated Care Board (synthetic)", service: "2000099992" },
    Partner { folder: "council", ods: "DEMOL", name: "Demo Borough Council (synthetic)", service: "2000099993" },
];

/// The people of the demo, as its `weir.toml` lists them.
const STAFF: [&str; 7] =
    ["demo-engineer", "demo-guardian", "demo-siro", "demo-ig-lead", "demo-safeguarding", "demo-owner", "demo-auditor"];

/// Makes the site in `folder` unless it is there already. Whether it was made.
pub(super) fn prepare(folder: &Path) -> anyhow::Result<bool> {
    if folder.join("gateway/weir.toml").exists() {
        return Ok(false);
    }
    make_whole(folder).with_context(|| format!("cannot make the site in {}", folder.display()))?;
    Ok(true)
}

/// Makes the site beside `folder` and moves it there in one step, so that a demo that is killed leaves a whole site
/// or none.
fn make_whole(folder: &Path) -> anyhow::Result<()> {
    let parent = folder.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = folder.file_name().context("the folder must have a name of its own")?;
    let scratch = parent.join(format!(".{}-{}", name.to_string_lossy(), uuid::Uuid::new_v4().simple()));
    fs::create_dir_all(&scratch)?;
    let made = make(&scratch).and_then(|()| {
        fs::rename(&scratch, folder).context("the folder exists and is not empty; name a new or an empty one")
    });
    if made.is_err() {
        let _nothing_to_keep = fs::remove_dir_all(&scratch);
    }
    made
}

fn make(folder: &Path) -> anyhow::Result<()> {
    let validity = Validity::days(clock::now(), 90);
    let provider_ca = Authority::new("Demo provider CA (synthetic)", validity)?;
    let partner_ca = Authority::new("Demo partner CA (synthetic)", validity)?;
    let gateway = folder.join("gateway");
    let ports = loopback::reserve::<9>().context("the demo needs free ports on loopback")?;
    let bars = ports[5].to_string();

    let provider: PartyId = "DEMOP".parse()?;
    let pki = gateway.join("pki");
    let issue = || provider_ca.issue(&provider, "provider.example", &[], validity);
    write_issued(&pki, "gateway", &issue()?)?;
    write_issued(&pki, "records", &issue()?)?;
    write(&pki.join("provider-ca.pem"), provider_ca.certificate_pem(), Readers::Anyone)?;
    write(&pki.join("partner-ca.pem"), partner_ca.certificate_pem(), Readers::Anyone)?;
    Secret::create(&pki.join("payload.key"))?;
    Secret::create(&pki.join("hash.key"))?;
    Secret::create(&pki.join("icb-pseudonyms.key"))?;
    SigningKey::create(ORIGIN, &pki.join("audit.key"))?;
    let mut keys: BTreeMap<&str, PersonalKey> = BTreeMap::new();
    for id in STAFF {
        let (key, secret) = PersonalKey::generate()?;
        write(&pki.join("staff").join(format!("{id}.key")), &secret, Readers::OwnerOnly)?;
        write(&pki.join("staff").join(format!("{id}.pub")), &key.public().to_pem(), Readers::Anyone)?;
        keys.insert(id, key);
    }

    for ((partner, port), pages) in PARTNERS.iter().zip(&ports[2..5]).zip(&ports[6..9]) {
        let party: PartyId = partner.ods.parse()?;
        let own = folder.join(partner.folder);
        let issued = partner_ca.issue(&party, "partner.example", &[], validity)?;
        write_issued(&own.join("pki"), "partner", &issued)?;
        write(&own.join("pki/provider-ca.pem"), provider_ca.certificate_pem(), Readers::Anyone)?;
        let filled = |template: &str| {
            template
                .replace("{name}", partner.name)
                .replace("{ods}", partner.ods)
                .replace("{host}", &partner.ods.to_ascii_lowercase())
                .replace("{service}", partner.service)
                .replace("{bars}", &bars)
                .replace("{address}", &port.to_string())
                .replace("{pages}", &pages.to_string())
        };
        write(&own.join("partner.toml"), &filled(PARTNER), Readers::Anyone)?;
        write(&gateway.join("partners").join(format!("{}.toml", partner.folder)), &filled(ROUTE), Readers::Anyone)?;
    }
    for (from, to) in [(&AGREEMENTS, gateway.join("agreements")), (&RECORDS, folder.join("records"))] {
        copy(from, &to)?;
    }
    let filled = GATEWAY.replace("{records}", &ports[0].to_string()).replace("{operations}", &ports[1].to_string());
    let filled = filled.replace("{bars}", &bars);
    write(&gateway.join("weir.toml"), &filled, Readers::Anyone)?;
    approve(&Site::load(&gateway)?, &keys)
}

/// Leaves the approvals of the demo's agreements for the gateway, signed by the synthetic people whom they name.
fn approve(site: &Site, keys: &BTreeMap<&str, PersonalKey>) -> anyhow::Result<()> {
    for agreement in site.stages().agreements.iter() {
        for role in &agreement.approval().by {
            let by = agreement.approver(*role).context("an approver is a principal")?;
            let key = keys.get(by).context("an approver is one of the staff")?;
            let deed = Deed::ApproveAgreement {
                agreement: agreement.id().clone(),
                version: agreement.version().to_owned(),
                file: hex(&agreement.hash()),
                role: role.code().parse()?,
            };
            let act = Act::new(site.staff().site(), deed, clock::now());
            spool::leave(site.staff().acts_folder(), &act, &act.sign(&by.parse()?, key))?;
        }
    }
    Ok(())
}

fn write_issued(pki: &Path, name: &str, issued: &Issued) -> anyhow::Result<()> {
    write(&pki.join(format!("{name}.pem")), &issued.certificate_pem, Readers::Anyone)?;
    write(&pki.join(format!("{name}.key")), &issued.key_pem, Readers::OwnerOnly)
}

fn copy(from: &Dir<'_>, to: &Path) -> anyhow::Result<()> {
    for file in from.files() {
        let name = file.path().file_name().context("an embedded file has a name")?;
        let text = file.contents_utf8().context("an embedded file is text")?;
        write(&to.join(name), text, Readers::Anyone)?;
    }
    for folder in from.dirs() {
        copy(folder, &to.join(folder.path().file_name().context("an embedded folder has a name")?))?;
    }
    Ok(())
}

fn write(file: &Path, text: &str, readers: Readers) -> anyhow::Result<()> {
    fs::create_dir_all(file.parent().context("a site's files stand in folders")?)?;
    Ok(write_durably(file, text.as_bytes(), readers)?)
}
