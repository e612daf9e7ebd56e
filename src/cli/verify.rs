//! `weir verify`: whether a Bundle is what a gateway sent.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use clap::Args;
use serde_json::{Value, json};

use super::Answer;
use super::output::Output;
use crate::audit::checkpoint::VerifierKey;
use crate::identity::signature::check_apart;
use crate::provenance::KINDS;

/// Checks that a Bundle is, byte for byte, the one that a Provenance tells of and that the gateway signed, with the time and
/// the agreement that the Provenance names; the rest of the Provenance is not signed. Needs three files, no site and no network. Exit code 1 when it is not.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir verify bundle.json --provenance provenance.json --key audit.pub\n\nTake the key from the \
    provider once, by a way that you trust: `weir audit key` prints it. Keep the Bundle as it arrived: a program that writes the \
    same JSON anew changes its bytes."
)]
pub(super) struct Arguments {
    /// The Bundle, as it arrived
    bundle: PathBuf,
    /// Its FHIR Provenance
    #[arg(long, value_name = "FILE")]
    provenance: PathBuf,
    /// A file with the gateway's public key, as `weir audit key` prints it
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<Answer> {
    let key: VerifierKey = String::from_utf8_lossy(&read(&arguments.key)?)
        .trim()
        .parse()
        .with_context(|| format!("{} holds no public key of a gateway", arguments.key.display()))?;
    let (bundle, provenance) = (read(&arguments.bundle)?, read(&arguments.provenance)?);
    match check(&bundle, &provenance, &key) {
        Ok(said) => {
            let text = |name: &str| said[name].as_str().unwrap_or("?").to_owned();
            output.line(&format!(
                "the Bundle is what {} signed at {}, under {}",
                text("signed_by"),
                text("recorded"),
                text("policy")
            ));
            output.json(&said);
            Ok(Answer::Yes)
        }
        Err(why) => {
            output.line(&format!("the Bundle does NOT verify: {why}"));
            output.json(&json!({ "verifies": false, "why": why }));
            Ok(Answer::No)
        }
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// What a Provenance says of a Bundle whose bytes it has a signature of; or why that does not count.
fn check(bundle: &[u8], provenance: &[u8], key: &VerifierKey) -> Result<Value, String> {
    let provenance: Value = serde_json::from_slice(provenance)
        .ok()
        .filter(|provenance: &Value| provenance["resourceType"] == "Provenance")
        .ok_or("the file of the Provenance holds none")?;
    let [signature] = provenance["signature"].as_array().map(Vec::as_slice).unwrap_or_default() else {
        return Err("its Provenance does not have one signature".to_owned());
    };
    let jws = signature["data"].as_str().and_then(|data| BASE64.decode(data).ok());
    let jws =
        jws.and_then(|jws| String::from_utf8(jws).ok()).ok_or("the signature is not base64 of a JSON Web Signature")?;
    let (kid, says) = check_apart(&jws, KINDS, bundle, key.for_messages()).map_err(|error| {
        format!("{error}; the Bundle or the Provenance is another one or was changed, or the key is not this gateway's")
    })?;
    if kid != key.kid() {
        return Err(format!("it was signed as {kid}, and the key is {}", key.kid()));
    }
    let id = serde_json::from_slice::<Value>(bundle).ok().and_then(|bundle| Some(bundle["id"].as_str()?.to_owned()));
    let target = provenance["target"][0]["reference"].as_str().and_then(|target| target.strip_prefix("urn:uuid:"));
    if id.is_some() && id.as_deref() != target {
        return Err("its Provenance tells of another Bundle".to_owned());
    }
    let told = [
        ("provenance", &provenance["id"]),
        ("recorded", &provenance["recorded"]),
        ("policy", &provenance["policy"][0]),
    ];
    for (name, text) in told {
        if text.as_str() != says.get(name).map(String::as_str) {
            return Err(format!("its Provenance does not say what was signed: {name}"));
        }
    }
    Ok(json!({
        "verifies": true,
        "signed_by": kid,
        "bundle": target,
        "recorded": says.get("recorded"),
        "policy": says.get("policy"),
    }))
}
