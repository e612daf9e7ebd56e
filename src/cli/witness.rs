//! `weir witness`: watches the audit log of a gateway that somebody else runs; `weir witness key`: makes its key.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use serde_json::json;
use tokio::sync::watch;

use super::Answer;
use super::output::Output;
use super::serve::ended_by_signal;
use crate::audit::checkpoint::VerifierKey;
use crate::audit::cosignature::CosigningKey;
use crate::audit::witness::Witness;
use crate::identity::tls::{Credentials, ServerTls, TlsError, TrustAnchors, TrustFiles, server_config, system_clock};
use crate::server::witness::serve;
use crate::storage::files::{Readers, write_durably};

/// What else a witness needs.
#[derive(Debug, Subcommand)]
enum Verb {
    /// Make the witness's key
    Key(Key),
}

/// Cosigns the heads of one gateway's audit log (C2SP tlog-witness), as long as each goes on from the one before: whoever runs
/// the gateway cannot put back an old copy of its database, or show two logs to two readers, without the witness seeing it. It
/// sees sizes and hashes alone, never an event.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
#[command(after_help = "Example:\n  weir witness key icb.example/witness --file witness.key\n  weir witness --listen \
    10.0.0.5:8447 --log-key audit.pub --key witness.key --state witness --certificate witness.pem --certificate-key \
    witness-tls.key --client-anchors provider-ca.pem\n\nThe log's public key is what `weir audit key` prints at the gateway. \
    The folder of --state holds the newest cosigned head, in the file `checkpoint`: keep it, since a witness without it knows \
    nothing of what was.")]
pub(super) struct Arguments {
    /// Where to listen; without TLS a loopback address
    #[arg(long, value_name = "ADDRESS", required = true)]
    listen: Option<SocketAddr>,
    /// A file with the log's public key, as `weir audit key` prints it
    #[arg(long, value_name = "FILE", required = true)]
    log_key: Option<PathBuf>,
    /// The witness's private key, as `weir witness key` wrote it
    #[arg(long, value_name = "FILE", required = true)]
    key: Option<PathBuf>,
    /// The folder of the newest cosigned head; made if it is not there
    #[arg(long, value_name = "DIR", required = true)]
    state: Option<PathBuf>,
    #[command(flatten)]
    tls: TlsOptions,
    #[command(subcommand)]
    verb: Option<Verb>,
}

/// Mutual TLS: all three, or none.
#[derive(Debug, Args)]
struct TlsOptions {
    /// What the witness presents, PEM: its own certificate first
    #[arg(long, value_name = "FILE", requires = "certificate_key")]
    certificate: Option<PathBuf>,
    /// The private key of the certificate, PEM
    #[arg(long, value_name = "FILE", requires = "client_anchors")]
    certificate_key: Option<PathBuf>,
    /// Who may issue the certificates of gateways, PEM
    #[arg(long, value_name = "FILE", requires = "certificate")]
    client_anchors: Option<PathBuf>,
}

/// Makes an Ed25519 key that cosigns: FILE for the witness alone, and FILE with the ending .pub for weir.toml of the gateway.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  weir witness key icb.example/witness --file witness.key\n\nThen list the witness in the \
    gateway's weir.toml:\n  [[audit.witnesses]]\n  public_key = \"icb.example/witness+…\"\n  url = \"https://witness.icb.example:8447\"\n  \
    trust_anchors = \"pki/partner-ca.pem\""
)]
struct Key {
    /// The witness's name: a URL without its scheme, of a domain that is its own
    name: String,
    /// Where to write the private key; it must not be there yet
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
}

pub(super) fn run(arguments: &Arguments, output: &Output) -> anyhow::Result<Answer> {
    if let Some(Verb::Key(key)) = &arguments.verb {
        return make_key(key, output);
    }
    super::start_logging("info");
    let Arguments { listen, log_key, key, state, tls, .. } = arguments;
    let listen = listen.context("say where to listen with --listen")?;
    let log_key = log_key.as_deref().context("name the log's public key with --log-key")?;
    let key = key.as_deref().context("name the witness's key with --key")?;
    let state = state.as_deref().context("name the state folder with --state")?;
    let tls = tls.load()?;
    let witness = open(log_key, key, state)?;
    super::runtime()?.block_on(async {
        let (stop, stopped) = watch::channel(false);
        let running = serve(Arc::new(witness), listen, tls, stopped).await?;
        ended_by_signal().await?;
        drop(stop);
        running.finished().await;
        Ok(Answer::Yes)
    })
}

fn open(log_key: &Path, key: &Path, state: &Path) -> anyhow::Result<Witness> {
    let log = std::fs::read_to_string(log_key).with_context(|| format!("cannot read {}", log_key.display()))?;
    let log: VerifierKey = log.parse().with_context(|| {
        format!("{} holds no public key of an audit log; `weir audit key` prints it", log_key.display())
    })?;
    let key = CosigningKey::load(key).map_err(|error| {
        anyhow::anyhow!("{}: {error}; hint: {}; `weir witness key` makes one", key.display(), error.hint())
    })?;
    Witness::open(log, key, state)
        .map_err(|error| anyhow::anyhow!("{}: {error}; hint: {}", state.display(), error.hint()))
}

impl TlsOptions {
    fn load(&self) -> anyhow::Result<Option<ServerTls>> {
        let (Some(chain), Some(key), Some(anchors)) = (&self.certificate, &self.certificate_key, &self.client_anchors)
        else {
            return Ok(None);
        };
        let wrong = |file: &Path| {
            let file = file.display().to_string();
            move |error: TlsError| anyhow::anyhow!("{file}: {error}; hint: {}", error.hint())
        };
        let credentials = Credentials::load(chain.clone(), key.clone()).map_err(wrong(chain))?;
        let files = TrustFiles { anchors: anchors.clone(), lists: Vec::new(), grace: Duration::ZERO };
        let clients = TrustAnchors::load(files).map_err(wrong(anchors))?;
        Ok(Some(server_config(&credentials, &clients, system_clock()).map_err(wrong(chain))?))
    }
}

fn make_key(arguments: &Key, output: &Output) -> anyhow::Result<Answer> {
    let key =
        CosigningKey::generate(&arguments.name).with_context(|| format!("{:?} cannot be a name", arguments.name))?;
    let (file, public) = (&arguments.file, arguments.file.with_extension("pub"));
    let written = |path: &Path| format!("cannot write {}", path.display());
    anyhow::ensure!(
        *file != public,
        "the private key would stand where the public one goes; name a file that does not end in .pub"
    );
    anyhow::ensure!(
        !public.exists(),
        "{} is there already: the public half of another key; name another file",
        public.display()
    );
    key.save(file).with_context(|| written(file))?;
    let text = key.public().to_string();
    write_durably(&public, format!("{text}\n").as_bytes(), Readers::Anyone).with_context(|| written(&public))?;
    output.line(&format!("private key of {}: {}", arguments.name, file.display()));
    output.line(&format!("public key, for weir.toml: {}", public.display()));
    output.line(&text);
    output.json(&json!({ "private": file.display().to_string(), "public": public.display().to_string(), "key": text }));
    Ok(Answer::Yes)
}
