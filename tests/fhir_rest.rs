//! Plain FHIR REST over the built gateway and mutual TLS: what a small FHIR server with conditional create and a token
//! server keep of it, when all goes well and when it does not.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair as RsaKeyPair, KeySize};
use aws_lc_rs::signature::{
    ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Extension, Router};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::{HeaderMap, StatusCode};
use serde_json::{Value, json};
use support::{Bench, DemoSite, Process, http_get, json_of, nobody, wait_for, weir};
use time::OffsetDateTime;
use tokio::sync::watch;
use uuid::Uuid;
use weir::cli::client::Client;
use weir::fhir::message::{Response as Answer, ResponseCode, response_bundle};
use weir::identity::issuance::{Authority, Validity};
use weir::identity::tls::{Credentials, TrustAnchors, server_config, system_clock};
use weir::server::listener::{Connection, Limits, Listener, Peer};

const RECORD: &str = "crisis-escalation-minimal.json";
const OTHER_RECORD: &str = "crisis-escalation-complete.json";
const TOKEN_ENDPOINT: &str = "https://auth.partner.example/oauth2/token";
const CLIENT: &str = "weir-demop";
const KEY_ID: &str = "weir-2026-1";

/// Something that the server does to one request.
#[derive(Clone)]
enum Mischief {
    /// Does it, and cuts the connection.
    Cut,
    /// Does nothing, and answers so.
    Answer(u16, Value),
    /// Does it, and answers 200 with this text.
    Says(&'static str),
}

/// A request for something of FHIR, as it arrived.
#[derive(Clone)]
struct Arrived {
    path: String,
    headers: HeaderMap,
    body: Vec<u8>,
}

impl Arrived {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).expect("it is JSON")
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

/// Verifies assertions: the algorithm's name, its verification, the public key.
struct Known(&'static str, &'static dyn VerificationAlgorithm, Vec<u8>);

/// What both servers know and keep.
#[derive(Default)]
struct Kept {
    /// Resources by type.
    stored: BTreeMap<String, Vec<Value>>,
    arrived: Vec<Arrived>,
    mischief: VecDeque<Mischief>,
    /// Whether requests need a token; how long one holds.
    client: Option<(Known, u64)>,
    /// Tokens that hold, with their end.
    tokens: BTreeMap<String, Instant>,
    /// Everything that was handed out or shown: none of it may be found in what the gateway keeps.
    secrets: Vec<String>,
    assertions: BTreeSet<String>,
    /// What the token server answers in place of a token.
    denials: VecDeque<(u16, String)>,
    slow: Duration,
    /// Requests that came without a token that holds.
    turned_away: usize,
}

type Shared = Arc<Mutex<Kept>>;

fn kept(shared: &Shared) -> std::sync::MutexGuard<'_, Kept> {
    shared.lock().expect("no request panics")
}

fn answer(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).expect("a status");
    let body = if body.is_null() { String::new() } else { body.to_string() };
    (status, [("content-type", "application/fhir+json"), ("retry-after", "1")], body).into_response()
}

fn outcome(code: &str) -> Value {
    json!({"resourceType": "OperationOutcome", "issue": [{"severity": "error", "code": code,
        "diagnostics": "Peter Chalmers"}]})
}

/// Percent-encoding and search escapes undone.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(if byte == b'%' {
            let digits = String::from_utf8(rest.by_ref().take(2).collect()).expect("two digits");
            u8::from_str_radix(&digits, 16).expect("hexadecimal")
        } else {
            byte
        });
    }
    String::from_utf8(bytes).expect("UTF-8").replace('\\', "")
}

impl Kept {
    /// Creates unless something matches: the status, and the place. More than one match is an error.
    #[allow(clippy::result_large_err, reason = "the error is the answer")]
    fn create(&mut self, kind: &str, condition: &str, resource: &Value) -> Result<(u16, String), Response> {
        let (parameter, token) = condition.split_once('=').expect("a condition");
        let (system, code) = token.split_once('|').expect("a token");
        let code = decoded(code);
        let list = |resource: &Value| match parameter {
            "_tag" => (resource["meta"]["tag"].clone(), "code"),
            "identifier" => (resource["identifier"].clone(), "value"),
            other => panic!("{other} is not searched for"),
        };
        let matches = |resource: &&Value| {
            let (list, key) = list(resource);
            list.as_array().is_some_and(|list| list.iter().any(|each| each["system"] == system && each[key] == *code))
        };
        let stored = self.stored.entry(kind.to_owned()).or_default();
        let found: Vec<&Value> = stored.iter().filter(matches).collect();
        match found[..] {
            [] => {
                let mut resource = resource.clone();
                let id = format!("s{}", stored.len() + 1);
                resource["id"] = json!(id);
                stored.push(resource);
                Ok((201, format!("{kind}/{id}")))
            }
            [one] => Ok((200, format!("{kind}/{}", one["id"].as_str().expect("an id")))),
            _ => Err(answer(412, &outcome("multiple-matches"))),
        }
    }

    /// All of it, or nothing.
    fn transact(&mut self, bundle: &Value) -> Response {
        assert_eq!(bundle["type"], "transaction");
        let before = self.stored.clone();
        let (mut places, mut entries) = (BTreeMap::new(), Vec::new());
        for entry in bundle["entry"].as_array().expect("entries") {
            let request = &entry["request"];
            assert_eq!((&request["method"], &request["url"]), (&json!("POST"), &entry["resource"]["resourceType"]));
            let text = |value: &Value| value.as_str().expect("a text").to_owned();
            match self.create(&text(&request["url"]), &text(&request["ifNoneExist"]), &entry["resource"]) {
                Ok((status, place)) => {
                    entries.push(json!({"response": {"status": format!("{status} Done"), "location": &place}}));
                    places.insert(text(&entry["fullUrl"]), place);
                }
                Err(refusal) => {
                    self.stored = before;
                    return refusal;
                }
            }
        }
        self.stored.values_mut().flatten().for_each(|resource| point(resource, &places));
        answer(200, &json!({"resourceType": "Bundle", "type": "transaction-response", "entry": entries}))
    }

    fn do_it(&mut self, arrived: &Arrived, peer: &Peer) -> Response {
        let body = arrived.json();
        match arrived.path.as_str() {
            "/fhir" => self.transact(&body),
            "/fhir/Bundle" => match self.create("Bundle", arrived.header("if-none-exist"), &body) {
                Ok((status, place)) => (
                    StatusCode::from_u16(status).expect("a status"),
                    [("location", format!("https://bars-demot.partner.example/fhir/{place}/_history/1"))],
                )
                    .into_response(),
                Err(refusal) => refusal,
            },
            "/fhir/$process-message" => {
                let bundles = self.stored.entry("Bundle".to_owned()).or_default();
                if !bundles.contains(&body) {
                    bundles.push(body.clone());
                }
                let text = response_bundle(&Answer {
                    id: Uuid::new_v4(),
                    timestamp: OffsetDateTime::now_utc(),
                    answers: body["id"].as_str().expect("an id"),
                    code: ResponseCode::Ok,
                    event: "servicerequest-response",
                    receiver: "DEMOT",
                    sender: peer.party.as_str(),
                });
                answer(200, &serde_json::from_str(&text).expect("JSON"))
            }
            other => panic!("{other} is not served"),
        }
    }

    /// A token, for an assertion that holds.
    fn grant(&mut self, form: &str, client: Option<&str>) -> Response {
        let form: BTreeMap<String, String> = form_urlencoded::parse(form.as_bytes()).into_owned().collect();
        let assertion = &form["client_assertion"];
        self.secrets.push(assertion.clone());
        if let Some((status, body)) = self.denials.pop_front() {
            return (StatusCode::from_u16(status).expect("a status"), body).into_response();
        }
        assert_eq!(client, Some("DEMOP"), "it came over mutual TLS");
        assert_eq!(form["grant_type"], "client_credentials");
        assert_eq!(form["client_assertion_type"], "urn:ietf:params:oauth:client-assertion-type:jwt-bearer");
        assert_eq!(form["scope"], "system/*.c system/*.u");
        let (Known(algorithm, verification, key), holds) = self.client.as_ref().expect("the case has a key");
        let (signed, signature) = assertion.rsplit_once('.').expect("a JWS");
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).expect("base64url");
        let verified = UnparsedPublicKey::new(*verification, key).verify(signed.as_bytes(), &decode(signature));
        assert!(verified.is_ok(), "the signature holds under our public key");
        let (header, claims) = signed.split_once('.').expect("a JWS");
        let json = |part: &str| -> Value { serde_json::from_slice(&decode(part)).expect("JSON") };
        let (header, claims) = (json(header), json(claims));
        assert_eq!(header, json!({"alg": algorithm, "typ": "JWT", "kid": KEY_ID}));
        assert_eq!((&claims["iss"], &claims["sub"]), (&json!(CLIENT), &json!(CLIENT)));
        assert_eq!(claims["aud"], TOKEN_ENDPOINT);
        let now = OffsetDateTime::now_utc().unix_timestamp();
        let (issued, end) = (claims["iat"].as_i64().expect("a time"), claims["exp"].as_i64().expect("a time"));
        assert!((now - 5..=now + 1).contains(&issued) && end > now && end - issued <= 300, "{claims}");
        assert!(
            self.assertions.insert(claims["jti"].as_str().expect("an id").to_owned()),
            "no assertion is used twice"
        );
        let token = format!("t{}.{}", self.tokens.len(), Uuid::new_v4().simple());
        self.tokens.insert(token.clone(), Instant::now() + Duration::from_secs(*holds));
        self.secrets.push(token.clone());
        let body = json!({"access_token": token, "token_type": "Bearer", "expires_in": holds});
        answer(200, &body)
    }

    fn has_token(&self, headers: &HeaderMap) -> bool {
        let shown = headers.get("authorization").and_then(|value| value.to_str().ok());
        let token = shown.and_then(|shown| shown.strip_prefix("Bearer "));
        self.client.is_none() || token.and_then(|token| self.tokens.get(token)).is_some_and(|end| Instant::now() < *end)
    }
}

/// References to entries become references to what is stored (R4 http.html, transaction).
fn point(value: &mut Value, places: &BTreeMap<String, String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match member.as_str().and_then(|text| places.get(text)) {
                    Some(place) if name == "reference" => *member = json!(place),
                    _ => point(member, places),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| point(item, places)),
        _ => {}
    }
}

async fn fhir(
    State(shared): State<Shared>,
    Extension(peer): Extension<Peer>,
    Extension(connection): Extension<Connection>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let body = whole(body).await;
    let (answer, mischief) = {
        let mut kept = kept(&shared);
        if !kept.has_token(&head.headers) {
            kept.turned_away += 1;
            return answer(401, &outcome("login"));
        }
        let arrived = Arrived { path: head.uri.path().to_owned(), headers: head.headers, body };
        kept.arrived.push(arrived.clone());
        match kept.mischief.pop_front() {
            Some(Mischief::Answer(status, body)) => return answer(status, &body),
            mischief => (kept.do_it(&arrived, &peer), mischief),
        }
    };
    match mischief {
        Some(Mischief::Cut) => {
            connection.cut();
            std::future::pending().await
        }
        Some(Mischief::Says(text)) => text.into_response(),
        _ => answer,
    }
}

async fn token(State(shared): State<Shared>, Extension(peer): Extension<Peer>, request: Request) -> Response {
    let form = String::from_utf8(whole(request.into_body()).await).expect("UTF-8");
    let slow = kept(&shared).slow;
    tokio::time::sleep(slow).await;
    kept(&shared).grant(&form, Some(peer.party.as_str()))
}

async fn whole(body: Body) -> Vec<u8> {
    to_bytes(body, 10 << 20).await.expect("it arrives").to_vec()
}

/// Both servers on loopback, and a site whose messages to the Trust go there.
struct Scene {
    site: DemoSite,
    shared: Shared,
    address: SocketAddr,
    _stop: watch::Sender<bool>,
    runtime: tokio::runtime::Runtime,
}

impl Scene {
    /// `interaction` and further lines of `[fhir_rest]`; with a key, a token is wanted that holds for so many seconds.
    fn start(settings: &str, key: Option<(Key, u64)>) -> Scene {
        let site = DemoSite::new();
        let shared = Shared::default();
        let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
        let (stop, stopped) = watch::channel(false);
        let address = runtime.block_on(serve(&site, shared.clone(), stopped));
        let scene = Scene { site, shared, address, _stop: stop, runtime };
        let token = key.map(|(key, holds)| {
            let Key { pem, known } = key;
            write_key(&scene.site, &pem);
            let settings = scene.token_settings(known.0);
            kept(&scene.shared).client = Some((known, holds));
            settings
        });
        scene.configure(settings, &token.unwrap_or_default());
        scene
    }

    fn token_settings(&self, algorithm: &str) -> String {
        format!(
            r#"
[fhir_rest.token]
endpoint = "{TOKEN_ENDPOINT}"
connect = "{}"
client_id = "{CLIENT}"
key_file = "keys/token.key"
key_id = "{KEY_ID}"
algorithm = "{algorithm}"
scope = "system/*.c system/*.u"
"#,
            self.address
        )
    }

    fn configure(&self, settings: &str, token: &str) {
        let written = format!(
            r#"
ods = "DEMOT"
name = "Demo Trust"
endpoint = "https://bars-demot.partner.example/fhir"
connect = "{}"
trust_anchors = "pki/fhir-ca.pem"
first_retry_seconds = 0.2
max_retry_seconds = 1
attempt_timeout_seconds = 20

[fhir_rest]
{settings}
{token}"#,
            self.address
        );
        fs::write(self.site.path("gateway/partners/trust.toml"), written).expect("it is written");
    }

    fn does(&self, mischief: &[Mischief]) {
        kept(&self.shared).mischief.extend(mischief.iter().cloned());
    }

    /// Submits a sample and waits; what `weir send` says.
    fn send(&self, record: &str) -> Value {
        self.site.send(record, &["--wait-seconds", "20"]).0
    }

    fn acknowledged(&self, record: &str) -> Value {
        let sent = self.send(record);
        assert_eq!(sent["state"], "acknowledged", "{sent}");
        sent
    }

    fn arrived(&self) -> Vec<Arrived> {
        kept(&self.shared).arrived.clone()
    }

    fn stored(&self) -> BTreeMap<String, Vec<Value>> {
        kept(&self.shared).stored.clone()
    }

    fn show(&self, id: &Value) -> Value {
        let mut command = weir();
        let id = id.as_str().expect("an id");
        command.args(["messages", "show", id, "--format", "json", "--site"]).arg(self.site.gateway_folder());
        json_of(&command.output().expect("weir runs"))
    }

    /// Stops the gateway; its audit log verifies, and no secret, body or text of the server is in what it keeps.
    fn ends_well(&self, gateway: Process) {
        assert_eq!(gateway.terminate(), Some(0));
        let verified = weir().args(["audit", "verify", "--site"]).arg(self.site.gateway_folder()).output();
        assert!(verified.expect("weir runs").status.success());
        let written = self.site.stored_and_logged();
        let written = String::from_utf8_lossy(&written);
        let secrets = kept(&self.shared).secrets.clone();
        for secret in secrets.iter().map(String::as_str).chain(["Bearer", "client_assertion", "Peter Chalmers"]) {
            assert!(!written.contains(secret), "{} is in what the gateway keeps", &secret[..secret.len().min(12)]);
        }
    }

    fn check(&self) -> (bool, String) {
        let mut command = weir();
        command.args(["partner", "check", "DEMOT", "--site"]).arg(self.site.gateway_folder());
        let output = command.output().expect("weir runs");
        (output.status.success(), String::from_utf8(output.stdout).expect("UTF-8"))
    }
}

/// One authority issues the certificate of both servers; they trust who issues the gateway's.
async fn serve(site: &DemoSite, shared: Shared, stopped: watch::Receiver<bool>) -> SocketAddr {
    let validity = Validity::days(OffsetDateTime::now_utc(), 1);
    let authority = Authority::new("FHIR CA", validity).expect("an authority");
    let party = "DEMOT".parse().expect("an ODS code");
    let own = authority.issue(&party, "partner.example", &["auth.partner.example"], validity).expect("a certificate");
    fs::write(site.path("gateway/pki/fhir-ca.pem"), authority.certificate_pem()).expect("it is written");
    let credentials = Credentials::from_pem(own.certificate_pem.as_bytes(), own.key_pem.as_bytes()).expect("PEM");
    let clients = fs::read(site.path("trust/pki/provider-ca.pem")).expect("the Trust knows the provider");
    let clients = TrustAnchors::from_pem(&clients).expect("an anchor");
    let tls = server_config(&credentials, &clients, system_clock()).expect("they can be used");
    let address = ([127, 0, 0, 1], 0).into();
    let listener = Listener::bind_mutual_tls(address, tls, Limits::default()).await.expect("a free port");
    let address = listener.local_address();
    let router = Router::new()
        .route("/fhir", post(fhir))
        .route("/fhir/Bundle", post(fhir))
        .route("/fhir/$process-message", post(fhir))
        .route("/oauth2/token", post(token))
        .with_state(shared);
    tokio::spawn(listener.serve(router, stopped));
    address
}

/// A key of ours, and how it is verified.
struct Key {
    pem: String,
    known: Known,
}

fn pem(der: &[u8]) -> String {
    format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der))
}

fn rsa(algorithm: &'static str, verification: &'static dyn VerificationAlgorithm) -> Key {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("there is randomness");
    let der: Pkcs8V1Der<'_> = pair.as_der().expect("it has a form");
    let known = Known(algorithm, verification, pair.public_key().as_ref().to_vec());
    Key { pem: pem(der.as_ref()), known }
}

fn rs384() -> Key {
    rsa("RS384", &RSA_PKCS1_2048_8192_SHA384)
}

fn es384() -> Key {
    let pair = EcdsaKeyPair::generate(&ECDSA_P384_SHA384_FIXED_SIGNING).expect("there is randomness");
    let known = Known("ES384", &ECDSA_P384_SHA384_FIXED, pair.public_key().as_ref().to_vec());
    Key { pem: pem(pair.to_pkcs8v1().expect("it has a form").as_ref()), known }
}

fn write_key(site: &DemoSite, pem: &str) {
    let folder = site.path("gateway/keys");
    fs::create_dir_all(&folder).expect("a folder");
    fs::write(folder.join("token.key"), pem).expect("it is written");
    fs::set_permissions(folder.join("token.key"), fs::Permissions::from_mode(0o600)).expect("it is ours");
}

/// The Bundle of a sample as BaRS takes it, from a site of its own: the same record is the same message.
fn disclosed(record: &str) -> Value {
    let site = DemoSite::new();
    let _trust = site.start_partner("trust", &[]);
    let _gateway = site.start_gateway();
    assert!(site.send(record, &[]).1, "it is acknowledged");
    serde_json::from_str(&site.inbox("trust")[0].1).expect("JSON")
}

/// A resource without the tag that we gave it.
fn untagged(resource: &Value) -> Value {
    let mut resource = resource.clone();
    let meta = resource["meta"].as_object_mut().expect("it has a meta");
    let tags = meta.remove("tag").expect("it has a tag");
    let [tag] = tags.as_array().expect("a list").as_slice() else { panic!("one tag: {tags}") };
    assert_eq!(tag["system"], "urn:ietf:rfc:3986");
    if meta.is_empty() {
        resource.as_object_mut().expect("an object").remove("meta");
    }
    resource
}

/// Everything below `key` of any object.
fn texts_of(value: &Value, key: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get(key).and_then(Value::as_str).map(str::to_owned));
            members.values().for_each(|member| texts_of(member, key, found));
        }
        Value::Array(items) => items.iter().for_each(|item| texts_of(item, key, found)),
        _ => {}
    }
}

#[test]
fn a_transaction_creates_what_was_disclosed_and_nothing_else() {
    let scene = Scene::start("interaction = \"transaction\"", None);
    let gateway = scene.site.start_gateway();
    let sent = scene.acknowledged(OTHER_RECORD);
    assert_eq!(sent["attempts"], 1, "{sent}");
    let arrived = scene.arrived();
    assert_eq!((arrived.len(), arrived[0].path.as_str()), (1, "/fhir"));
    assert_eq!(arrived[0].header("x-request-id"), sent["message"].as_str().expect("an id"));
    assert_eq!(arrived[0].header("content-type"), "application/fhir+json");
    assert!(!arrived[0].headers.keys().any(|name| name.as_str().starts_with("nhsd-")), "nothing of BaRS");

    let (bundle, message) = (arrived[0].json(), disclosed(OTHER_RECORD));
    let entries = |bundle: &Value| bundle["entry"].as_array().expect("entries").clone();
    let (ours, theirs) = (entries(&bundle), entries(&message));
    assert_eq!(ours.len(), theirs.len());
    for (entry, original) in ours.iter().zip(&theirs) {
        assert_eq!(entry["fullUrl"], original["fullUrl"]);
        assert_eq!(untagged(&entry["resource"]), original["resource"]);
        assert_eq!(entry.as_object().map(|members| members.len()), Some(3), "fullUrl, resource, request");
        let id = entry["fullUrl"].as_str().expect("a URL");
        assert_eq!(entry["request"]["ifNoneExist"], format!("_tag=urn:ietf:rfc:3986|{id}"));
        assert!(id.starts_with("urn:uuid:"), "{id}");
    }
    let members: BTreeSet<&str> = bundle.as_object().expect("an object").keys().map(String::as_str).collect();
    assert_eq!(members, BTreeSet::from(["resourceType", "id", "meta", "type", "entry"]));
    assert_eq!(bundle["meta"], json!({"security": message["meta"]["security"]}), "that it is a subset is still said");

    let stored = scene.stored();
    assert_eq!(stored.values().map(Vec::len).sum::<usize>(), theirs.len());
    let mut references = Vec::new();
    stored.values().flatten().for_each(|resource| texts_of(resource, "reference", &mut references));
    assert!(references.len() > 20, "{references:?}");
    assert!(references.iter().all(|reference| !reference.starts_with("urn:uuid:")), "{references:?}");
    scene.ends_well(gateway);
}

#[test]
fn a_connection_cut_in_the_answer_has_one_effect() {
    for (interaction, path) in
        [("transaction", "/fhir"), ("create", "/fhir/Bundle"), ("process-message", "/fhir/$process-message")]
    {
        let scene = Scene::start(&format!("interaction = \"{interaction}\""), None);
        scene.does(&[Mischief::Cut]);
        let gateway = scene.site.start_gateway();
        let sent = scene.acknowledged(RECORD);
        assert_eq!(sent["attempts"], 2, "{interaction}: {sent}");
        let arrived = scene.arrived();
        let [one, two] = &arrived[..] else { panic!("{interaction}: two arrivals") };
        assert_eq!((one.path.as_str(), &one.body), (path, &two.body), "the resend is the same");
        for name in ["x-request-id", "if-none-exist"] {
            assert_eq!(one.header(name), two.header(name), "{interaction}: {name}");
        }
        let stored = scene.stored();
        let entries = one.json()["entry"].as_array().expect("entries").len();
        let expected = if interaction == "transaction" { entries } else { 1 };
        assert_eq!(stored.values().map(Vec::len).sum::<usize>(), expected, "{interaction}: it is there once");
        if interaction == "create" {
            let id = one.json()["id"].as_str().expect("an id").to_owned();
            assert_eq!(one.header("if-none-exist"), format!("_tag=urn:ietf:rfc:3986|urn:uuid:{id}"));
            assert_eq!(stored["Bundle"][0]["type"], "message");
        }
        scene.ends_well(gateway);
    }
}

#[test]
fn a_type_that_is_matched_is_the_partners_own_and_several_matches_are_refused() {
    let match_by = r#"match_by = { Organization = "https://fhir.nhs.uk/Id/ods-organization-code" }"#;
    let scene = Scene::start(&format!("interaction = \"transaction\"\n{match_by}"), None);
    let own = json!({"resourceType": "Organization", "id": "own",
        "identifier": [{"system": "https://fhir.nhs.uk/Id/ods-organization-code", "value": "DEMOT"}]});
    kept(&scene.shared).stored.insert("Organization".to_owned(), vec![own.clone()]);
    let gateway = scene.site.start_gateway();
    scene.acknowledged(RECORD);
    let stored = scene.stored();
    let code = |resource: &&Value| resource["identifier"][0]["value"] == "DEMOT";
    assert_eq!(stored["Organization"].iter().filter(code).count(), 1, "it has one already");
    assert_eq!(stored["MessageHeader"][0]["destination"][0]["receiver"]["reference"], "Organization/own");

    // Now it has two, and nobody can say which is meant.
    kept(&scene.shared).stored.get_mut("Organization").expect("they are there").push(own);
    let before = scene.stored();
    let refused = scene.send(OTHER_RECORD);
    assert_eq!(refused["state"], "refused", "{refused}");
    let note = scene.show(&refused["message"])["note"].as_str().expect("a note").to_owned();
    assert!(note.contains("412 (multiple-matches): several of its resources match one of ours"), "{note}");
    assert_eq!(scene.stored(), before, "nothing was taken");
    scene.ends_well(gateway);
}

#[test]
fn an_entry_that_failed_is_refused_by_its_place_and_what_is_no_answer_is_sent_again() {
    let scene = Scene::start("interaction = \"transaction\"", None);
    let gateway = scene.site.start_gateway();
    let done = json!({"response": {"status": "201 Created"}});
    let failed = json!({"response": {"status": "422 Unprocessable Entity", "outcome": outcome("business-rule")}});
    let count = disclosed(RECORD)["entry"].as_array().expect("entries").len();
    let mut entries = vec![done; count];
    entries[3] = failed;
    let answer = json!({"resourceType": "Bundle", "type": "transaction-response", "entry": entries});
    scene.does(&[Mischief::Answer(200, answer)]);
    let refused = scene.send(RECORD);
    assert_eq!(refused["state"], "refused", "{refused}");
    let note = scene.show(&refused["message"])["note"].as_str().expect("a note").to_owned();
    assert!(note.contains("refused entry 3 with 422 (business-rule)"), "{note}");

    let again = [
        Mischief::Answer(503, Value::Null),
        Mischief::Says("<html>OK</html>"),
        Mischief::Answer(409, outcome("conflict")),
    ];
    scene.does(&again);
    let sent = scene.acknowledged(OTHER_RECORD);
    assert_eq!(sent["attempts"], 4, "{sent}");
    let bodies: BTreeSet<Vec<u8>> = scene.arrived().into_iter().skip(1).map(|arrived| arrived.body).collect();
    assert_eq!((scene.arrived().len(), bodies.len()), (5, 1), "every attempt is the same");
    let headers = scene.stored()["MessageHeader"].len();
    assert_eq!(headers, 1, "it was created by the attempt whose answer was lost");
    scene.ends_well(gateway);
}

#[test]
fn a_server_that_had_it_before_the_first_attempt_is_not_believed() {
    let scene = Scene::start("interaction = \"create\"", None);
    let gateway = scene.site.start_gateway();
    scene.does(&[Mischief::Answer(200, json!({"resourceType": "Bundle", "id": "another"}))]);
    let refused = scene.send(RECORD);
    assert_eq!(refused["state"], "refused", "{refused}");
    let note = scene.show(&refused["message"])["note"].as_str().expect("a note").to_owned();
    assert!(note.contains("had it before the first attempt"), "{note}");
    scene.ends_well(gateway);
}

#[test]
fn a_token_that_is_not_taken_any_more_is_renewed_once() {
    let scene = Scene::start("interaction = \"transaction\"", Some((rs384(), 300)));
    let gateway = scene.site.start_gateway();
    scene.acknowledged(RECORD);
    // The server forgets all tokens.
    kept(&scene.shared).tokens.clear();
    let sent = scene.acknowledged(OTHER_RECORD);
    assert_eq!(sent["attempts"], 1, "within the same attempt: {sent}");
    let (assertions, turned_away) = {
        let kept = kept(&scene.shared);
        (kept.assertions.len(), kept.turned_away)
    };
    assert_eq!((assertions, turned_away, scene.arrived().len()), (2, 1, 2));
    scene.ends_well(gateway);
}

#[test]
fn the_key_we_sign_with_is_changed_while_the_gateway_runs() {
    let scene = Scene::start("interaction = \"create\"", Some((es384(), 300)));
    let gateway = scene.site.start_gateway();
    scene.acknowledged(RECORD);
    let endpoint = scene.site.endpoint();
    let read = |outcome: &str| {
        let line = format!("weir_certificates_read_total{{outcome=\"{outcome}\"}}");
        http_get(scene.site.operations(), "/metrics").is_some_and(|(_, text)| text.contains(&line))
    };

    // A key of another kind is not used, nor asked for again.
    write_key(&scene.site, &rs384().pem);
    wait_for("the fault to be found", || read("refused"));
    kept(&scene.shared).tokens.clear();
    let status = scene.runtime.block_on(async {
        let mut client = Client::connect(&endpoint).await.expect("the gateway answers");
        let body = scene.site.record(OTHER_RECORD).into();
        client.submit("crisis-escalation", None, body).await.expect("the gateway answers").status
    });
    assert_eq!(status, 202);
    wait_for("the second message", || scene.arrived().len() == 2);

    let Key { pem, known } = es384();
    write_key(&scene.site, &pem);
    wait_for("the key to be taken over", || read("taken-over"));
    {
        let mut kept = kept(&scene.shared);
        kept.tokens.clear();
        kept.client = Some((known, 300));
    }
    // The token server verifies with the new public key alone.
    scene.acknowledged("crisis-escalation-home-treatment.json");
    assert_eq!(scene.arrived().len(), 3);
    assert_eq!(kept(&scene.shared).assertions.len(), 3);
    scene.ends_well(gateway);
}

#[test]
fn a_token_that_ends_is_replaced_before_it_does() {
    let scene = Scene::start("interaction = \"create\"", Some((es384(), 3)));
    let gateway = scene.site.start_gateway();
    scene.acknowledged(RECORD);
    std::thread::sleep(Duration::from_millis(2600));
    scene.acknowledged(OTHER_RECORD);
    let kept = kept(&scene.shared);
    assert_eq!((kept.assertions.len(), kept.turned_away), (2, 0), "no request had a token that had ended");
    drop(kept);
    scene.ends_well(gateway);
}

#[test]
fn a_token_is_had_once_for_all_who_wait() {
    let scene = Scene::start("interaction = \"create\"", Some((rsa("RS512", &RSA_PKCS1_2048_8192_SHA512), 300)));
    kept(&scene.shared).slow = Duration::from_millis(1500);
    let Scene { site, shared, _stop, runtime, .. } = scene;
    let bench = Bench::of(site);
    let record = bench.site.record(RECORD);
    for number in 0..8 {
        let key = format!("token-{number}");
        let headers = [("content-type", "application/json"), ("idempotency-key", key.as_str())];
        let status = bench.post("/records/crisis-escalation", &headers, record.clone()).status;
        assert_eq!(status, StatusCode::ACCEPTED);
    }
    wait_for("every message", || kept(&shared).arrived.len() == 8);
    assert_eq!(kept(&shared).assertions.len(), 1);
    drop((bench.kill(), runtime));
}

#[test]
fn without_a_token_nothing_is_sent_and_the_message_says_why() {
    let scene = Scene::start("interaction = \"transaction\"", Some((es384(), 300)));
    let denial = json!({"error": "invalid_client", "error_description": "Peter Chalmers"}).to_string();
    let rubbish = || (200, "<html>".to_owned());
    kept(&scene.shared).denials.extend([(401, denial), rubbish(), (503, String::new())]);
    let gateway = scene.site.start_gateway();
    let sent = scene.acknowledged(RECORD);
    assert_eq!((&sent["attempts"], scene.arrived().len()), (&json!(4), 1), "{sent}");
    let log = fs::read_to_string(scene.site.path("gateway.log")).expect("the gateway logs");
    for why in [
        "there is no token: the token server answers 401 (invalid_client)",
        "there is no token: the token server's answer has none that can be used",
        "there is no token: the token server answers 503",
    ] {
        assert!(log.contains(why), "{why}");
    }
    let steps = scene.show(&sent["message"])["steps"].to_string();
    assert_eq!(steps.matches("not-sent").count(), 3, "{steps}");
    scene.ends_well(gateway);
}

#[test]
fn a_server_that_does_not_let_us_in_is_told_of_once_and_the_message_still_arrives() {
    let scene = Scene::start("interaction = \"create\"", None);
    kept(&scene.shared).mischief.extend(vec![Mischief::Answer(401, outcome("login")); 3]);
    let gateway = scene.site.start_gateway();
    let sent = scene.acknowledged(RECORD);
    assert_eq!(sent["attempts"], 4, "{sent}");
    let shown = scene.show(&sent["message"]);
    let steps = shown["steps"].as_array().expect("it shows the steps");
    let alarms = steps.iter().filter(|step| step["kind"] == "delivery-alarm").map(|step| &step["reason"]);
    assert_eq!(alarms.collect::<Vec<_>>(), ["unauthorised"], "long before its deadline: {shown}");
    let files = fs::read_dir(scene.site.path("gateway/data/incidents")).expect("people were told");
    let paths = files.map(|file| file.expect("a file").path());
    let notices: Vec<String> = paths
        .filter(|path| path.extension().is_some_and(|it| it == "json"))
        .map(|path| fs::read_to_string(path).expect("it is readable"))
        .collect();
    let [notice] = &notices[..] else { panic!("once: {notices:?}") };
    assert!(notice.contains("delivery-unauthorised") && notice.contains("weir partner check"), "{notice}");
    scene.ends_well(gateway);
}

#[test]
fn a_token_server_that_is_down_is_no_partner_that_is() {
    let scene = Scene::start("interaction = \"transaction\"", Some((es384(), 300)));
    let down = scene.token_settings("ES384").replace(&scene.address.to_string(), &nobody().to_string());
    scene.configure("interaction = \"transaction\"", &down);
    let (well, said) = scene.check();
    assert!(
        !well && said.contains("route 0, its tokens") && said.contains("refused: the partner cannot be reached"),
        "{said}"
    );
    let gateway = scene.site.start_gateway();
    let (sent, _) = scene.site.send(RECORD, &["--wait-seconds", "0"]);
    wait_for("an attempt", || scene.show(&sent["message"])["note"].as_str().is_some_and(|note| !note.is_empty()));
    let note = scene.show(&sent["message"])["note"].as_str().expect("a note").to_owned();
    let expected = "there is no token: the partner cannot be reached (connection refused), at the token endpoint";
    assert!(note.contains(expected), "{note}");
    assert!(scene.arrived().is_empty(), "nothing was sent");
    scene.ends_well(gateway);
}

#[test]
fn a_check_of_the_partner_looks_at_the_server_and_has_a_token() {
    let scene = Scene::start("interaction = \"transaction\"", Some((es384(), 300)));
    let (well, said) = scene.check();
    assert!(well, "{said}");
    for line in ["route 0, FHIR REST: https://bars-demot.partner.example/fhir", "a token was had: nothing is refused"] {
        assert!(said.contains(line), "{said}");
    }
    assert!(kept(&scene.shared).secrets.iter().all(|secret| !said.contains(secret)), "no token is shown");
    kept(&scene.shared).denials.push_back((400, json!({"error": "invalid_scope"}).to_string()));
    let (well, said) = scene.check();
    assert!(
        !well && said.contains("refused: there is no token: the token server answers 400 (invalid_scope)"),
        "{said}"
    );
    assert!(scene.arrived().is_empty(), "nothing is sent");

    scene.configure("interaction = \"transaction\"", &scene.token_settings("RS384"));
    let checked =
        weir().args(["config", "check", "--site"]).arg(scene.site.gateway_folder()).output().expect("weir runs");
    let said = [checked.stdout, checked.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(checked.status.code() == Some(1) && said.contains("fhir_rest.token.key_file cannot be used"), "{said}");
}
