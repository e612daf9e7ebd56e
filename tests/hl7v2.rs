//! HL7 v2 over MLLP and over HTTP: the built gateway, real TLS, real sockets; and peers that do not behave.

#![allow(clippy::disallowed_methods, reason = "a test may block, and its files need not be durable")]

mod support;
#[path = "support/ways_in.rs"]
mod ways_in;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use rustls::pki_types::ServerName;
use serde_json::Value;
use support::{Bench, DemoSite, http_get, nobody, wait_for, weir};
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weir::config::Endpoint;
use weir::identity::issuance::{Authority, Validity};

const ER7: [(&str, &str); 1] = [("content-type", "application/hl7-v2")];
const PATIENCE: Duration = Duration::from_secs(20);

fn message(name: &str) -> String {
    String::from_utf8(ways_in::sample(name)).expect("it is text").replace('\n', "\r")
}

fn frame(message: &str) -> Vec<u8> {
    [&[0x0B], message.as_bytes(), &[0x1C, 0x0D]].concat()
}

/// A connection to the MLLP listener as a record system.
struct Line(TlsStream<TcpStream>);

impl Line {
    async fn open(address: SocketAddr, endpoint: &Endpoint) -> Line {
        let stream = TcpStream::connect(address).await.expect("it listens");
        let host = endpoint.uri.host().expect("it has a host").to_owned();
        let name = ServerName::try_from(host).expect("it is a name");
        Line(TlsConnector::from(Arc::clone(&endpoint.tls)).connect(name, stream).await.expect("it shakes hands"))
    }

    async fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.expect("it is sent");
        self.0.flush().await.expect("it is sent");
    }

    /// The next ACK; `None` when the gateway closes the connection instead.
    async fn ack(&mut self) -> Option<String> {
        let mut bytes = Vec::new();
        let read = async {
            loop {
                match self.0.read_u8().await {
                    Ok(byte) => bytes.push(byte),
                    Err(_) => return None,
                }
                if bytes.ends_with(&[0x1C, 0x0D]) {
                    assert_eq!(bytes.first(), Some(&0x0B));
                    return String::from_utf8(bytes[1..bytes.len() - 2].to_vec()).ok();
                }
            }
        };
        timeout(PATIENCE, read).await.expect("the gateway does something")
    }

    async fn exchange(&mut self, message: &str) -> String {
        self.send(&frame(message)).await;
        self.ack().await.expect("it answers")
    }
}

fn msa(ack: &str) -> (&str, &str) {
    let line = ack.split('\r').find_map(|line| line.strip_prefix("MSA|")).expect("it has an MSA");
    let mut fields = line.split('|');
    (fields.next().unwrap_or_default(), fields.next().unwrap_or_default())
}

fn errors(ack: &str) -> Vec<&str> {
    ack.split('\r').filter(|line| line.starts_with("ERR|")).collect()
}

fn arrived(bench: &Bench) -> Vec<Value> {
    let inbox = bench.site.inbox("trust").into_iter();
    inbox.map(|(_, text)| serde_json::from_str(&text).expect("it is JSON")).collect()
}

fn focus(bundle: &Value) -> (&str, &Value) {
    let entries = bundle["entry"].as_array().expect("it has entries");
    let event = entries[0]["resource"]["eventCoding"]["code"].as_str().expect("it has an event");
    let kinds = ["Encounter", "ServiceRequest", "DocumentReference"];
    let found = entries.iter().map(|entry| &entry["resource"]);
    let mut found = found.filter(|resource| kinds.iter().any(|kind| resource["resourceType"] == *kind));
    (event, found.next().expect("it is about something"))
}

/// A gateway with HL7 v2, its MLLP address, and `more` in the section `[mllp]`.
fn bench(more: &str) -> (Bench, SocketAddr) {
    let address = nobody();
    let section = String::from_utf8(ways_in::sample("hl7v2.toml")).expect("it is text");
    let section = section.replace("127.0.0.1:2575", &address.to_string());
    let (site, _) = ways_in::site(&format!("{section}\n{more}"));
    (Bench::of(site), address)
}

#[test]
fn each_type_arrives_as_its_notice_and_a_repeat_is_answered_alike() {
    let (bench, address) = bench("");
    let _trust = bench.site.start_partner("trust", &[]);
    let names = ["adt-a01.hl7", "adt-a08.hl7", "adt-a03.hl7", "ref-i12.hl7", "mdm-t02.hl7"];
    let acks = bench.runtime.block_on(async {
        let mut line = Line::open(address, &bench.site.endpoint()).await;
        let mut acks = Vec::new();
        for name in names {
            acks.push(line.exchange(&message(name)).await);
        }
        // All of them at once, in one write: answered in order.
        let all: Vec<u8> = names.iter().flat_map(|name| frame(&message(name))).collect();
        line.send(&all).await;
        for (name, first) in names.iter().zip(&acks) {
            let again = line.ack().await.expect("it answers");
            assert_eq!((msa(&again), errors(&again).len()), (msa(first), 0), "{name}");
        }
        acks
    });
    for (number, ack) in acks.iter().enumerate() {
        assert_eq!(msa(ack), ("AA", format!("PAS-00060{}", [1, 3, 2, 4, 5][number]).as_str()), "{ack}");
        assert!(ack.starts_with("MSH|^~\\&|WEIR|DEMOT|PAS|DEMOP|") && ack.contains("|P|2.5.1\r"), "{ack}");
    }
    assert!(acks[0].contains("|ACK^A01^ACK|"), "{}", acks[0]);
    wait_for("all to arrive", || arrived(&bench).len() == 5);
    let bundles = arrived(&bench);
    let of = |event: &str| bundles.iter().map(focus).find(|found| found.0 == event).expect("it arrived").1;
    assert_eq!(
        (&of("admission")["status"], &of("admission")["period"]["start"]),
        (&"in-progress".into(), &"2026-03-03T09:00:00+00:00".into())
    );
    assert_eq!(
        (&of("discharge")["status"], &of("discharge")["period"]["end"]),
        (&"finished".into(), &"2026-03-10T11:00:00+00:00".into())
    );
    assert_eq!(of("update")["class"]["code"], "IMP");
    assert_eq!(
        (&of("referral")["priority"], &of("referral")["identifier"][0]["value"]),
        (&"asap".into(), &"R-100604".into())
    );
    assert_eq!(
        of("document")["content"][0]["attachment"]["data"],
        "RGlzY2hhcmdlIHN1bW1hcnkgKHN5bnRoZXRpYykKU3RheWVkIHNldmVuIGRheXMgJiBmZWx0IGJldHRlci4="
    );
    let admission = bundles.iter().find(|bundle| focus(bundle).0 == "admission").expect("it arrived").to_string();
    assert!(!admission.contains("Crisis admission") && !admission.contains("Demonstration Street"), "withheld");
    wait_for("all arrivals to be noted", || bench.site.arrivals("trust").len() >= 5);
    assert_eq!(bench.site.arrivals("trust").len(), 5, "nothing arrived twice");

    // The same over HTTP is the same message; other content under its id is not taken.
    let again = bench.post("/hl7v2", &ER7, message("adt-a01.hl7"));
    let text = |answer: &weir::cli::client::Answer| String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!((again.status, msa(&text(&again)).0), (StatusCode::OK, "AA"));
    let other = bench.post("/hl7v2", &ER7, message("adt-a01.hl7").replace("Ada", "Bea"));
    assert_eq!((other.status, msa(&text(&other)).0), (StatusCode::INTERNAL_SERVER_ERROR, "AE"));
    assert!(errors(&text(&other))[0].contains("|205^Duplicate key identifier^HL70357|"), "{}", text(&other));
    let site = bench.kill();
    let verified =
        weir().args(["audit", "verify", "--as", "demo-auditor", "--site"]).arg(site.gateway_folder()).output();
    assert!(verified.expect("weir runs").status.success());
    let kept = String::from_utf8_lossy(&site.stored_and_logged()).into_owned();
    for value in ["Sampleperson", "9990001006", "P-100601", "Demonstration Street"] {
        assert!(!kept.contains(value), "{value} is stored or logged");
    }
}

#[test]
fn what_cannot_be_taken_is_answered_with_segment_and_field_and_no_value() {
    let (bench, _) = bench("");
    let a01 = || message("adt-a01.hl7");
    let cases: [(String, &str, &str); 15] = [
        (a01().replace("ADT^A01", "ORU^R01"), "AR", "ERR||MSH^1^9|200^"),
        (a01().replace("ADT^A01", "ADT^A40"), "AR", "ERR||MSH^1^9|201^"),
        (a01().replace("|P|2.5.1", "|T|2.5.1"), "AR", "ERR||MSH^1^11|202^"),
        (a01().replace("|P|2.5.1", "|P|3.0"), "AR", "ERR||MSH^1^12|203^"),
        (a01().replace("PAS-000601", ""), "AR", "ERR||MSH^1^10|101^"),
        (a01().replace("UNICODE UTF-8", "GB 18030"), "AR", "ERR||MSH^1^18|103^"),
        ("secret".to_owned(), "AR", "ERR|||100^"),
        (a01().replace("PV1|1|I|", "PV1|1||"), "AE", "ERR||PV1^1^2^1^1|101^"),
        (a01().replace("\rPID|", "\rsecret\rPID|"), "AR", "ERR|||100^"),
        (a01().replace("19870512", "secret"), "AE", "ERR||PID^1^7^1|102^"),
        (a01().replace("Sampleperson^Ada^Test^^Ms", ""), "AE", "ERR||PID^1^5^1|101^"),
        (a01().split("PV1|").next().expect("it has a PV1").to_owned(), "AE", "207^"),
        (a01().replace("|DEMOT|2026", "|TOOLONG789|2026"), "AE", "ERR||MSH^1^6^1^1|"),
        (a01().replace("20260303090000", ""), "AE", "ERR||PV1^1|207^"),
        (a01().replace("PAS-000601", "X2").replace("\rPV1", "\rPID|2\rPV1"), "AE", "ERR||PID^1"),
    ];
    for (sent, code, part) in cases {
        let answer = bench.post("/hl7v2", &ER7, sent);
        let ack = String::from_utf8_lossy(&answer.body).into_owned();
        assert_eq!(msa(&ack).0, code, "{part}: {ack}");
        assert!(ack.contains(part) && !ack.contains("secret"), "{part}: {ack}");
        let status = if code == "AR" { StatusCode::BAD_REQUEST } else { StatusCode::INTERNAL_SERVER_ERROR };
        assert_eq!(answer.status, status, "{ack}");
        assert_eq!(answer.headers["content-type"], "application/hl7-v2; charset=utf-8");
    }
    // Before v2.5, ERR is another.
    let old = bench.post("/hl7v2", &ER7, a01().replace("2.5.1", "2.4").replace("19870512", "secret"));
    let ack = String::from_utf8_lossy(&old.body).into_owned();
    assert!(ack.contains("\rERR|PID^1^7^102&Data type error&HL70357\r"), "{ack}");
    assert_eq!(
        bench.post("/hl7v2", &[("content-type", "text/plain")], a01()).status,
        StatusCode::UNSUPPORTED_MEDIA_TYPE
    );
    assert_eq!(bench.post("/hl7v2?send", &ER7, a01()).status, StatusCode::BAD_REQUEST);

    // A dry run goes all the way and keeps nothing.
    let _trust = bench.site.start_partner("trust", &[]);
    let tried = bench.post("/hl7v2?dry-run", &ER7, a01());
    assert_eq!(tried.headers["weir-dry-run"], "would-be-accepted");
    let older = [("content-type", "x-application/hl7-v2+er7")];
    assert_eq!(bench.post("/hl7v2", &older, a01()).status, StatusCode::OK);
    wait_for("the other to arrive", || arrived(&bench).len() == 1);
}

#[test]
fn a_peer_that_does_not_behave_is_cut_off_and_nobody_else_notices() {
    let (bench, address) = bench("max_message_bytes = 20000\nmessage_timeout_seconds = 2\nidle_seconds = 3\n");
    let endpoint = bench.site.endpoint();
    bench.runtime.block_on(async {
        let mut good = Line::open(address, &endpoint).await;
        assert_eq!(msa(&good.exchange(&message("adt-a01.hl7")).await).0, "AA");

        // No frame at all, and frames that do not end as they should.
        for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0x1C, 0x0D], &[0xFF; 4000], &[0x0B, b'M', 0x1C, b'x']] {
            let mut line = Line::open(address, &endpoint).await;
            line.send(garbage).await;
            assert_eq!(line.ack().await, None, "it is closed");
        }
        // An empty message is answered, and the line goes on.
        let mut line = Line::open(address, &endpoint).await;
        assert_eq!(msa(&line.exchange("").await), ("AR", ""));
        assert_eq!(msa(&line.exchange(&message("adt-a08.hl7")).await).0, "AA");

        // Too long; and one that is of separators alone, within its length.
        let mut line = Line::open(address, &endpoint).await;
        line.send(&frame(&(message("adt-a01.hl7") + &"x".repeat(30_000)))).await;
        assert_eq!(msa(&line.ack().await.expect("it answers")), ("AR", "PAS-000601"));
        assert_eq!(line.ack().await, None, "it is closed");
        let mut line = Line::open(address, &endpoint).await;
        let bars = message("adt-a01.hl7") + "ZZZ" + &"|".repeat(15_000);
        assert_eq!(msa(&line.exchange(&bars).await).0, "AE", "other content under the same id");

        // One that never ends, one byte at a time; and one that says nothing.
        let mut slow = Line::open(address, &endpoint).await;
        let mut silent = Line::open(address, &endpoint).await;
        slow.send(&[0x0B]).await;
        let dripping = async {
            for byte in message("adt-a01.hl7").bytes().cycle() {
                if slow.0.write_all(&[byte]).await.and(slow.0.flush().await).is_err() {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(100)).await;
                if timeout(Duration::from_millis(1), slow.0.read_u8()).await.is_ok() {
                    return;
                }
            }
        };
        timeout(PATIENCE, dripping).await.expect("it is cut off");
        assert_eq!(silent.ack().await, None, "it is closed");

        // Whoever has no certificate of ours does not get that far; TCP alone is no handshake.
        let mut plain = TcpStream::connect(address).await.expect("it listens");
        plain.write_all(&frame(&message("adt-a01.hl7"))).await.expect("it is sent");
        let mut rest = Vec::new();
        let _ = timeout(PATIENCE, plain.read_to_end(&mut rest)).await.expect("it is closed");
        assert!(!rest.windows(3).any(|three| three == b"MSA"), "it is not answered");

        // Bytes of every kind in whole frames: each is answered, and the gateway goes on.
        let mut line = Line::open(address, &endpoint).await;
        let mut seed = 0x2545_F491_4F6C_DD1D_u64;
        for round in 0..200 {
            let mut bytes: Vec<u8> =
                if round % 2 == 0 { message("ref-i12.hl7").into_bytes() } else { b"MSH|^~\\&|".to_vec() };
            for _ in 0..(round % 40) + 1 {
                seed ^= seed << 13;
                seed ^= seed >> 7;
                seed ^= seed << 17;
                let at = (seed >> 8) as usize % bytes.len();
                let byte = seed as u8;
                bytes[at] = if matches!(byte, 0x0B | 0x1C | 0x0D) { b'|' } else { byte };
            }
            let whole = [&[0x0B], &bytes[..], &[0x1C, 0x0D]].concat();
            line.send(&whole).await;
            let ack = line.ack().await.expect("it answers");
            assert!(ack.contains("\rMSA|A") || ack.contains("MSA"), "{ack}");
        }
        let mut good = Line::open(address, &endpoint).await;
        assert_eq!(msa(&good.exchange(&message("adt-a03.hl7")).await).0, "AA");
    });
    let (_, metrics) = http_get(bench.site.operations(), "/metrics").expect("the gateway answers");
    for limit in ["framing", "body-size", "body-time", "idle-time"] {
        let line = format!("weir_refused_by_limit_total{{listener=\"mllp\",limit=\"{limit}\"}}");
        assert!(metrics.contains(&line), "{limit} is not counted");
    }
    let log = std::fs::read_to_string(bench.site.path("gateway.log")).expect("there is a log");
    assert!(!log.contains("panicked") && !log.contains("Sampleperson"));
}

#[test]
fn a_certificate_that_may_not_submit_is_rejected_and_a_shutdown_answers_what_it_took() {
    let (site, _) = ways_in::site("");
    let address = nobody();
    let file = site.gateway_folder().join("weir.toml");
    let section = String::from_utf8(ways_in::sample("hl7v2.toml")).expect("it is text");
    let text = std::fs::read_to_string(&file).expect("it is there");
    let text = text.replace("roles = [\"record-system\"]", "roles = [\"auditor\"]");
    std::fs::write(&file, text + &section.replace("127.0.0.1:2575", &address.to_string())).expect("it is written");
    let gateway = site.start_gateway();
    let runtime = tokio::runtime::Runtime::new().expect("a runtime starts");
    runtime.block_on(async {
        let mut line = Line::open(address, &site.endpoint()).await;
        let ack = line.exchange(&message("adt-a01.hl7")).await;
        assert_eq!(msa(&ack), ("AR", "PAS-000601"));
        assert!(errors(&ack)[0].contains("may submit"), "{ack}");
        gateway.signal("TERM");
        assert_eq!(line.ack().await, None, "it is closed");
    });
    assert_eq!(gateway.terminate(), Some(0));
}

/// Credentials of the provider from an authority that the test holds, where the site has them.
fn renew(site: &DemoSite, authority: &Authority) {
    let validity = Validity::days(OffsetDateTime::now_utc(), 1);
    let host = site.endpoint().uri.host().expect("it has a host").to_owned();
    let pki = site.path("gateway/pki");
    std::fs::write(pki.join("provider-ca.pem"), authority.certificate_pem()).expect("it is written");
    for name in ["gateway", "records"] {
        let party = "DEMOP".parse().expect("an ODS code");
        let issued = authority.issue(&party, "provider.example", &[&host], validity).expect("a certificate");
        std::fs::write(pki.join(format!("{name}.pem")), issued.certificate_pem).expect("it is written");
        std::fs::write(pki.join(format!("{name}.key")), issued.key_pem).expect("it is written");
    }
}

#[test]
fn a_message_is_known_again_when_its_senders_certificate_was_renewed() {
    let section = String::from_utf8(ways_in::sample("hl7v2.toml")).expect("it is text");
    let section = section.replace("127.0.0.1:2575", &nobody().to_string());
    let (site, _) = ways_in::site(&section);
    let authority = Authority::new("Test provider CA", Validity::days(OffsetDateTime::now_utc(), 1));
    let authority = authority.expect("an authority");
    let submit = |site: DemoSite| {
        renew(&site, &authority);
        let bench = Bench::of(site);
        let answer = bench.post("/hl7v2", &ER7, message("adt-a01.hl7"));
        assert_eq!(msa(&String::from_utf8_lossy(&answer.body)), ("AA", "PAS-000601"));
        let (_, metrics) = http_get(bench.site.operations(), "/metrics").expect("the gateway answers");
        let waiting = metrics.lines().find(|line| line.starts_with("weir_outbox_messages ")).map(str::to_owned);
        (bench.kill(), waiting)
    };
    let (site, first) = submit(site);
    assert_eq!(first.as_deref(), Some("weir_outbox_messages 1"));
    assert_eq!(submit(site).1, first, "it became two");
}

#[test]
fn what_there_is_no_room_for_now_is_not_answered_and_taken_when_it_is_sent_again() {
    let section = String::from_utf8(ways_in::sample("hl7v2.toml")).expect("it is text");
    let address = nobody();
    let (site, _) = ways_in::site(&section.replace("127.0.0.1:2575", &address.to_string()));
    let file = site.gateway_folder().join("weir.toml");
    let text = std::fs::read_to_string(&file).expect("it is there");
    std::fs::write(&file, text.replace("payload_key =", "max_waiting_messages = 1\npayload_key =")).expect("written");
    let bench = Bench::of(site);
    let endpoint = bench.site.endpoint();
    bench.runtime.block_on(async {
        let mut line = Line::open(address, &endpoint).await;
        assert_eq!(msa(&line.exchange(&message("adt-a01.hl7")).await).0, "AA");
        line.send(&frame(&message("adt-a08.hl7"))).await;
        assert_eq!(line.ack().await, None, "an ACK would end what the sender can still send");
        // What is on disk is still known.
        let mut line = Line::open(address, &endpoint).await;
        assert_eq!(msa(&line.exchange(&message("adt-a01.hl7")).await).0, "AA");
    });
    let later = bench.post("/hl7v2", &ER7, message("adt-a08.hl7"));
    let text = String::from_utf8_lossy(&later.body).into_owned();
    assert_eq!(later.status, StatusCode::SERVICE_UNAVAILABLE, "{text}");
    assert!(later.headers.contains_key("retry-after") && !text.contains("MSA|"), "{text}");
    let _trust = bench.site.start_partner("trust", &[]);
    wait_for("the first to arrive", || arrived(&bench).len() == 1);
    wait_for("the other to be taken", || bench.post("/hl7v2", &ER7, message("adt-a08.hl7")).status == StatusCode::OK);
    wait_for("the other to arrive", || arrived(&bench).len() == 2);
}

/// A message with MSH-15 and MSH-16.
fn asking(message: &str, accept: &str, application: &str) -> String {
    assert!(message.contains("|P|2.5.1|||||"));
    message.replacen("|P|2.5.1|||||", &format!("|P|2.5.1|||{accept}|{application}|"), 1)
}

/// The codes of ACKs that stand one behind the other.
fn codes(acks: &str) -> Vec<&str> {
    acks.split('\r').filter_map(|line| line.strip_prefix("MSA|")?.get(..2)).collect()
}

#[test]
fn in_enhanced_mode_the_commit_comes_first_and_then_what_msh_16_asks_for() {
    let (bench, address) = bench("");
    let endpoint = bench.site.endpoint();
    bench.runtime.block_on(async {
        let mut line = Line::open(address, &endpoint).await;
        // Both are wanted: two frames, in this order, on the connection of the message.
        line.send(&frame(&asking(&message("adt-a01.hl7"), "AL", "AL"))).await;
        let (commit, application) = (line.ack().await.expect("a commit"), line.ack().await.expect("an AA"));
        assert_eq!((msa(&commit), msa(&application)), (("CA", "PAS-000601"), ("AA", "PAS-000601")));
        let head =
            |ack: &str| ack.split('\r').next().expect("an MSH").split('|').map(str::to_owned).collect::<Vec<_>>();
        let (commit, application) = (head(&commit), head(&application));
        assert_ne!(commit[9], application[9], "each has an id of its own");
        assert!(commit[9].len() <= 20 && application[9].len() <= 20, "{commit:?} {application:?}");
        assert_eq!((commit.len(), &application[14..]), (12, &["NE".to_owned(), "NE".to_owned()][..]));
        // What was committed is on disk: the message is known again, whatever it asks for now.
        let (_, metrics) = http_get(bench.site.operations(), "/metrics").expect("the gateway answers");
        assert!(metrics.contains("\nweir_outbox_messages 1\n"), "{metrics}");
        line.send(&frame(&asking(&message("adt-a01.hl7"), "AL", "AL"))).await;
        for code in ["CA", "AA"] {
            assert_eq!(msa(&line.ack().await.expect("it answers")).0, code, "a repeat is answered alike");
        }
        // Each asks for other acknowledgements, and is another message.
        let a01 = |accept: &str, application: &str| {
            let id = format!("PAS-{accept}-{application}");
            asking(&message("adt-a01.hl7").replace("PAS-000601", &id), accept, application)
        };
        for (accept, application, expected) in [
            ("AL", "NE", &["CA"][..]),
            ("SU", "ER", &["CA"]),
            ("NE", "AL", &["AA"]),
            ("ER", "SU", &["AA"]),
            ("AL", "SU", &["CA", "AA"]),
        ] {
            line.send(&frame(&a01(accept, application))).await;
            for code in expected {
                let ack = line.ack().await.expect("it answers");
                assert_eq!(msa(&ack).0, *code, "{accept} {application}: {ack}");
            }
        }
        // None is wanted: none comes, and the next message on the connection is answered as it asks.
        line.send(&frame(&a01("NE", "NE"))).await;
        line.send(&frame(&a01("ER", "ER"))).await;
        assert_eq!(msa(&line.exchange(&message("adt-a08.hl7")).await), ("AA", "PAS-000603"));

        // What is refused is committed by nobody, and that ends it.
        let wrong = |accept: &str, application: &str| a01(accept, application).replace("19870512", "secret");
        for (sent, code, part) in [
            (wrong("AL", "AL"), "CE", "ERR||PID^1^7^1|102^"),
            (wrong("SU", "AL"), "AE", "ERR||PID^1^7^1|102^"),
            (wrong("NE", "ER"), "AE", "ERR||PID^1^7^1|102^"),
            (a01("AL", "AL").replace("ADT^A01", "ADT^A40"), "CR", "ERR||MSH^1^9|201^"),
            (a01("ER", "NE").replace("|P|2.5.1", "|P|3.0"), "CR", "ERR||MSH^1^12|203^"),
            (a01("AL", "AL").replace("|P|2.5.1", "|T|2.5.1"), "CR", "ERR||MSH^1^11|202^"),
            (a01("XX", "AL"), "CE", "ERR||MSH^1^15|103^"),
            (a01("NE", "always"), "AR", "ERR||MSH^1^16|103^"),
            (a01("AL", "SU").replace("Ada", "Bea"), "CE", "|205^"),
        ] {
            let ack = line.exchange(&sent).await;
            assert_eq!(msa(&ack).0, code, "{ack}");
            assert!(ack.contains(part) && !ack.contains("secret"), "{part}: {ack}");
        }
        // Nothing followed any of them.
        assert_eq!(msa(&line.exchange(&message("adt-a08.hl7")).await), ("AA", "PAS-000603"));
        line.send(&frame(&(wrong("SU", "SU")))).await;
        assert_eq!(msa(&line.exchange(&message("adt-a03.hl7")).await), ("AA", "PAS-000602"));
    });
}

#[test]
fn in_enhanced_mode_http_answers_with_one_ack_behind_the_other_or_none() {
    let (bench, _) = bench("");
    let post = |path: &str, sent: String| {
        let answer = bench.post(path, &ER7, sent);
        (answer.status, String::from_utf8_lossy(&answer.body).into_owned())
    };
    let a01 = |accept: &str, application: &str| {
        let id = format!("PAS-{accept}-{application}").replace('"', "N");
        asking(&message("adt-a01.hl7").replace("PAS-000601", &id), accept, application)
    };
    let (status, both) = post("/hl7v2", a01("AL", "AL"));
    assert_eq!((status, codes(&both)), (StatusCode::OK, vec!["CA", "AA"]), "{both}");
    assert_eq!(both.matches("MSH|^~\\&|WEIR|DEMOT|").count(), 2, "{both}");
    for (accept, application, expected) in
        [("AL", "NE", &["CA"][..]), ("", "AL", &["AA"]), ("AL", "", &["CA"]), ("\"\"", "\"\"", &["AA"])]
    {
        let (status, acks) = post("/hl7v2", a01(accept, application));
        assert_eq!((status, &codes(&acks)[..]), (StatusCode::OK, expected), "{accept} {application}: {acks}");
    }
    assert_eq!(post("/hl7v2", a01("NE", "NE")), (StatusCode::NO_CONTENT, String::new()));
    let (status, refused) = post("/hl7v2", a01("AL", "AL").replace("19870512", "secret"));
    assert_eq!((status, codes(&refused)), (StatusCode::INTERNAL_SERVER_ERROR, vec!["CE"]), "{refused}");
    let (status, refused) = post("/hl7v2", a01("AL", "AL").replace("ADT^A01", "ORU^R01"));
    assert_eq!((status, codes(&refused)), (StatusCode::BAD_REQUEST, vec!["CR"]), "{refused}");
    let unasked = post("/hl7v2", a01("NE", "NE").replace("ADT^A01", "ORU^R01"));
    assert_eq!(unasked, (StatusCode::BAD_REQUEST, String::new()));
    // What is only tried is committed by nobody.
    let (status, tried) = post("/hl7v2?dry-run", asking(&message("adt-a08.hl7"), "AL", "AL"));
    assert_eq!((status, codes(&tried)), (StatusCode::INTERNAL_SERVER_ERROR, vec!["CE"]), "{tried}");
}

#[test]
fn what_cannot_be_taken_now_is_committed_in_no_mode() {
    let section = String::from_utf8(ways_in::sample("hl7v2.toml")).expect("it is text");
    let address = nobody();
    let (site, _) = ways_in::site(&section.replace("127.0.0.1:2575", &address.to_string()));
    let file = site.gateway_folder().join("weir.toml");
    let text = std::fs::read_to_string(&file).expect("it is there");
    std::fs::write(&file, text.replace("payload_key =", "max_waiting_messages = 1\npayload_key =")).expect("written");
    let bench = Bench::of(site);
    let endpoint = bench.site.endpoint();
    bench.runtime.block_on(async {
        let mut line = Line::open(address, &endpoint).await;
        assert_eq!(msa(&line.exchange(&asking(&message("adt-a01.hl7"), "AL", "NE")).await).0, "CA");
        line.send(&frame(&asking(&message("adt-a08.hl7"), "AL", "AL"))).await;
        assert_eq!(line.ack().await, None, "neither CA, which would be untrue, nor what ends it");
    });
    let (status, _) = {
        let answer = bench.post("/hl7v2", &ER7, asking(&message("adt-a08.hl7"), "AL", "AL"));
        (answer.status, answer.body)
    };
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn a_dry_run_is_never_answered_like_a_message_that_is_kept() {
    let (bench, _) = bench("");
    let tried = bench.post("/hl7v2?dry-run", &ER7, message("adt-a01.hl7"));
    let ack = String::from_utf8_lossy(&tried.body).into_owned();
    assert_eq!((tried.status, msa(&ack)), (StatusCode::INTERNAL_SERVER_ERROR, ("AE", "PAS-000601")));
    assert_eq!(tried.headers["weir-dry-run"], "would-be-accepted");
    let told = "|0^Message accepted^HL70357|I|||dry run: nothing was kept; it would have been accepted|";
    assert!(errors(&ack)[0].contains(told), "{ack}");
    let wrong = bench.post("/hl7v2?dry-run", &ER7, message("adt-a01.hl7").replace("19870512", "secret"));
    let ack = String::from_utf8_lossy(&wrong.body).into_owned();
    assert_eq!(wrong.headers["weir-dry-run"], "would-be-refused");
    assert_eq!(msa(&ack).0, "AE");
    assert!(errors(&ack)[0].contains("|102^Data type error^HL70357|E|"), "{ack}");
    let sent = bench.post("/hl7v2", &ER7, message("adt-a01.hl7"));
    assert_eq!((sent.status, sent.headers.get("weir-dry-run")), (StatusCode::OK, None));
}

#[test]
fn times_without_an_offset_are_those_of_clocks_in_the_uk() {
    let (bench, _) = bench("");
    let _trust = bench.site.start_partner("trust", &[]);
    // Sent in winter, with its offset, about a summer's day.
    let summer = message("adt-a01.hl7").replace("20260303090000", "20250703090000");
    let answer = bench.post("/hl7v2", &ER7, summer.clone());
    assert_eq!(answer.status, StatusCode::OK, "{}", String::from_utf8_lossy(&answer.body));
    wait_for("it to arrive", || arrived(&bench).len() == 1);
    let bundle = arrived(&bench).remove(0);
    assert_eq!(focus(&bundle).1["period"]["start"], "2025-07-03T09:00:00+01:00");
    // The hour that was not.
    let skipped = summer.replace("20250703090000", "20250330013000").replace("PAS-000601", "PAS-000602");
    let answer = bench.post("/hl7v2", &ER7, skipped);
    let ack = String::from_utf8_lossy(&answer.body).into_owned();
    assert_eq!(msa(&ack).0, "AE");
    assert!(errors(&ack)[0].contains("|PV1^1^44^1|102^"), "{ack}");
}

#[test]
fn a_message_that_is_stamped_anew_when_it_is_sent_again_is_the_same() {
    let (bench, _) = bench("");
    let first = message("adt-a01.hl7");
    let anew = first.replacen("20260303091500+0000", "20260303094501+0000", 1);
    assert_ne!(first, anew);
    for (sent, expected) in [(&first, "AA"), (&anew, "AA"), (&anew.replace("Ada", "Bea"), "AE")] {
        let answer = bench.post("/hl7v2", &ER7, sent.clone());
        assert_eq!(msa(&String::from_utf8_lossy(&answer.body)).0, expected);
    }
    let _trust = bench.site.start_partner("trust", &[]);
    wait_for("it to arrive", || arrived(&bench).len() == 1);
}
