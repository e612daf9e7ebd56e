//! Maps and records that want too much: each ends in a clear error, soon, on the stack of an ordinary thread.

use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use uuid::Uuid;
use weir::fhir::{self, Document};
use weir::mapping::{CompiledMap, Diagnostic, Error, Limit, MapFile};

/// The stack of a worker of the gateway.
const STACK: usize = 2 << 20;

/// Runs `work` on a thread of its own and gives up on it after `seconds`, which allow for a slow machine and no
/// optimisation.
fn within<T: Send + 'static>(seconds: u64, work: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    let started = Instant::now();
    let worker =
        thread::Builder::new().stack_size(STACK).spawn(move || done.send(work()).ok()).expect("a thread starts");
    match result.recv_timeout(Duration::from_secs(seconds)) {
        Ok(result) => result,
        Err(mpsc::RecvTimeoutError::Disconnected) => {
            panic!("the work panicked after {:?}: {:?}", started.elapsed(), worker.join().is_err())
        }
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("no end after {seconds} s"),
    }
}

const HEAD: &str = r#"map "http://x/map" = "m"
uses "http://hl7.org/fhir/StructureDefinition/Patient" alias Patient as target
uses "http://hl7.org/fhir/StructureDefinition/Basic" alias Basic as source
"#;

fn compile(text: &str) -> Result<CompiledMap, Vec<Diagnostic>> {
    CompiledMap::compile(&[MapFile { name: "m.map".to_owned(), text: format!("{HEAD}{text}") }], &[])
}

/// What a map is refused for, all faults in one text.
fn refusal(text: impl Into<String>) -> String {
    let text = text.into();
    let faults: Vec<(String, String)> = within(60, move || match compile(&text) {
        Ok(_) => panic!("the map compiles"),
        Err(faults) => faults.iter().map(|fault| (fault.to_string(), fault.hint.clone())).collect(),
    });
    assert!(faults.len() <= 450, "{} faults are told", faults.len());
    faults.iter().map(|(fault, hint)| format!("{fault} {hint}\n")).collect()
}

fn assert_refused(text: impl Into<String>, why: &str) {
    let told = refusal(text);
    assert!(told.contains(why), "{why} is not told, but\n{}", &told[..told.floor_char_boundary(2_000)]);
}

fn group(rules: &str) -> String {
    format!("group Main(source src : Basic, target tgt : Patient) {{ {rules} }}")
}

#[test]
fn brackets_that_nest_without_end_are_refused() {
    let many = 50_000;
    let lines = |open: &str| format!("{open}\n").repeat(many);
    for open in ["(", "[", "{", "-", "+", "a(", "iif(a, ", "(a).where(", "a[", "src as a then { "] {
        assert_refused(group(&format!("src where {}", lines(open))), "nest more than 100 deep");
        assert_refused(format!("let a = {}", lines(open)), "nest more than 100 deep");
        assert_refused(lines(open), "nest more than 100 deep");
    }
    assert_refused(group(&"src then {\n".repeat(many)), "nest more than 100 deep");
    assert_refused(group(&"src then { )\n".repeat(many)), "nest more than 100 deep");
    let closed = format!("src where ({}true{}) -> tgt.active = true;", lines("("), lines(")"));
    assert_refused(group(&closed), "nest more than 100 deep");
    let nested = format!("{}src.id -> tgt.id;{}", "src then {\n".repeat(98), "};\n".repeat(98));
    assert!(within(60, move || compile(&group(&nested)).is_ok()), "98 levels of rules are not too many");
}

#[test]
fn expressions_without_end_are_refused() {
    for link in [".a", "\n+ 1", "\nand true", "[0]", ".first()", "\n| 1", "\nis Patient", " = 1"] {
        let long = link.repeat(1_500).split_inclusive(".a.a.a.a").collect::<Vec<_>>().join("\n");
        assert_refused(group(&format!("src where src{long} -> tgt.active = true;")), "more than 1,000 operators");
        let less = link.repeat(900).split_inclusive(".a.a.a.a").collect::<Vec<_>>().join("\n");
        assert_refused(group(&format!("src where src{less} -> tgt.active = true;")), "nests too deeply");
    }
}

#[test]
fn texts_without_end_are_refused() {
    assert_refused("\n".repeat(2 << 20), "longer than 1 MiB");
    assert_refused("§".repeat(7_000), "no sign of this language");
    assert_refused("§\n".repeat(300_000), "no sign of this language");
    assert_refused(group(&"} ;\n".repeat(200_000)), "a `}` too many");
    assert_refused("/// a = 1 ".repeat(90_000), "longer than 16 KiB");
    assert_refused("/// a = 1 /// a = 1 /// a = 1\n".repeat(30_000), "error[syntax]");
    let name = "x".repeat(7_000);
    assert_refused(group(&format!("src -> tgt.{name} = 1;\nsrc -> tgt.{name}y = 1;")), "has no element");
    assert_refused(
        format!("{}group {name}x(source a, target b : Patient) {{\n{name}.a -> b.c;\n}}", group("src.id -> tgt.id;")),
        "no variable",
    );
}

#[test]
fn constants_that_lead_to_each_other_are_refused() {
    assert_refused(format!("let a = b;\nlet b = a;\n{}", group("src -> tgt.id = a;")), "no variable is called a");
    assert_refused(
        format!("let a = b;\nlet b = a;\n{}", group("src -> tgt.id = append(a, 'x');")),
        "no variable is called a",
    );
    assert_refused(
        format!("let a = (b);\nlet b = (a) & 'x';\n{}", group("src where (a) -> tgt.id = 'x';")),
        "leads to itself",
    );
    assert_refused(format!("let a = a & 'x';\n{}", group("src -> tgt.id = a;")), "leads to itself");
    let doubling: String =
        (0..15).map(|n| format!("let a{n} = {};\n", vec![format!("a{}", n + 1); 40].join(" & "))).collect();
    assert_refused(
        format!("{doubling}let a15 = 'x';\n{}", group("src where (a0 = 'x') -> tgt.id = 'x';")),
        "longer than 64 KB",
    );
    let wide = format!("let a = '{}';\n", "x".repeat(15_000));
    let often = "src where (a = 'x') -> tgt.active = true;\n".repeat(2_000);
    assert_refused(format!("{wide}{}", group(&often)), "too much text");
}

#[test]
fn groups_that_extend_each_other_are_refused() {
    let groups = |pairs: &[(&str, &str)]| -> String {
        let declare = |(name, base): &(&str, &str)| {
            format!(
                "group {name}(source src : Basic, target tgt : Patient) extends {base} {{\n src.id -> tgt.id;\n}}\n"
            )
        };
        pairs.iter().map(declare).collect()
    };
    assert_refused(groups(&[("A", "A")]), "extends itself");
    assert_refused(groups(&[("A", "B"), ("B", "A")]), "extends itself");
    assert_refused(groups(&[("A", "B"), ("B", "C"), ("C", "D"), ("D", "C")]), "extends itself");
}

#[test]
fn maps_that_import_each_other_are_refused() {
    let file = |name: &str, other: &str, rules: &str| {
        let group = format!("group {name}(source src : Basic, target tgt : Patient) {{\n{rules}\n}}");
        let head = HEAD.replace("http://x/map", &format!("http://x/{name}"));
        MapFile { name: format!("{name}.map"), text: format!("{head}imports \"http://x/{other}\"\n{group}") }
    };
    let faults = within(60, move || {
        let files = [
            file("A", "B", "src.id -> tgt.id;"),
            file("B", "C", "src.id -> tgt.id;"),
            file("C", "B", "src.id -> tgt.id;"),
        ];
        CompiledMap::compile(&files, &[]).expect_err("it imports itself")
    });
    assert!(faults.iter().any(|fault| fault.message.contains("imports this file in turn")), "{faults:?}");
    // A pattern finds the file itself among others: that is no fault, and no end either.
    let found = within(60, move || {
        let files: Vec<MapFile> = (0..30).map(|n| file(&format!("F{n}"), "*", "src.id -> tgt.id;")).collect();
        CompiledMap::compile(&files, &[]).map(|_| ()).map_err(|faults| format!("{faults:?}"))
    });
    assert_eq!(found, Ok(()));
}

#[test]
fn groups_may_call_each_other_in_a_long_chain_and_in_a_ring() {
    let chain: String = (0..1_500)
        .map(|n| format!("group G{n}(source s, target t : Patient) {{ s -> t then G{}(s, t); }}\n", n + 1))
        .collect();
    let last = "group G1500(source s, target t : Patient) { s.id as i -> t.id = i; }";
    let text = format!("{}\n{chain}{last}", group("src -> tgt then G0(src, tgt);"));
    let told = within(120, move || {
        let map = compile(&text).map_err(|faults| faults[0].to_string())?;
        let record =
            Document::parse(r#"{"resourceType":"Basic","id":"a"}"#, &fhir::Limits::default()).expect("it is JSON");
        map.transform(&record, Uuid::nil()).map(|_| ()).map_err(|error| error.to_string())
    });
    assert!(told.as_ref().is_err_and(|told| told.contains("groups calling each other")), "{told:?}");
}

#[test]
fn the_deepest_expression_in_the_deepest_block_runs() {
    let blocks = |group: &str, count: usize, inner: &str| {
        let (open, close) = ("src then {\n".repeat(count), "};\n".repeat(count));
        format!("group {group}(source src : Basic, target tgt : Patient) {{\n{open}{inner}\n{close}}}\n")
    };
    let condition = format!("{}true{}", "where(".repeat(95), ")".repeat(95));
    let text = [
        blocks("M", 80, "src then A(src, tgt);"),
        blocks("A", 80, "src then B(src, tgt);"),
        blocks("B", 80, "src then C(src, tgt);"),
        blocks("C", 0, &format!("src where ({condition}) -> tgt.active = true \"last\";")),
    ];
    let made = within(60, move || {
        let map = compile(&text.concat()).map_err(|faults| faults[0].to_string())?;
        let record = Document::parse(r#"{"resourceType":"Basic"}"#, &fhir::Limits::default()).expect("it is JSON");
        map.transform(&record, Uuid::nil())
            .map(|made| made.document.source().to_owned())
            .map_err(|error| error.to_string())
    });
    assert_eq!(made.as_deref(), Ok(r#"{"resourceType":"Patient","active":true}"#));
}

#[test]
fn groups_of_ever_new_types_are_refused() {
    let parameters: Vec<String> = (0..8).map(|n| format!("source a{n}")).collect();
    let turned: Vec<String> = (1..8).map(|n| format!("a{n}")).collect();
    let rules: String = ["extension", "text", "meta", "identifier", "code", "subject", "author"]
        .iter()
        .map(|element| format!(" s.{element} as x -> t then G(s, t, {}, x);\n", turned.join(", ")))
        .collect();
    let text = format!(
        "{}\ngroup G(source s : Basic, target t : Patient, {}) {{\n{rules} }}",
        group(&format!("src -> tgt then G(src, tgt{});", ", src".repeat(8))),
        parameters.join(", "),
    );
    assert_refused(text, "called with too many types");
}

#[test]
fn rules_of_too_many_parts_are_refused() {
    assert_refused(
        group(&format!("src as a{} -> tgt.active = true;", ",\nsrc as b".repeat(50_000))),
        "at most 16 sources",
    );
    assert_refused(
        group(&format!("src -> tgt.active = true{};", ",\ntgt.id as x".repeat(60_000))),
        "at most 1,000 targets",
    );
}

/// What a run of `rules` on `record` ends in.
fn outcome(map: String, record: String) -> Result<usize, Error> {
    within(120, move || {
        let map = compile(&map).unwrap_or_else(|faults| panic!("{}", faults[0]));
        let record = Document::parse(record, &fhir::Limits::default()).expect("it is JSON");
        map.transform(&record, Uuid::nil()).map(|output| output.document.len())
    })
}

fn assert_ends(map: impl Into<String>, record: impl Into<String>, limit: Limit) {
    let map = map.into();
    let ended = outcome(map.clone(), record.into());
    let as_expected = matches!(&ended, Err(Error::Limit { limit: reached, .. }) if *reached == limit);
    assert!(as_expected, "{}: {ended:?}", &map[..map.floor_char_boundary(300)]);
}

fn basic(extensions: usize) -> String {
    let one = r#"{"url":"http://x","valueString":"abcdefgh"}"#;
    format!(r#"{{"resourceType":"Basic","id":"a","extension":[{}]}}"#, vec![one; extensions].join(","))
}

#[test]
fn rules_without_end_reach_a_limit() {
    assert_ends(
        "group Main(source s : Basic, target t : Patient) { s where (id.exists()) -> t then Main(s, t); }",
        basic(0),
        Limit::Groups,
    );
    let ring = "group Main(source s : Basic, target t : Patient) { s -> t then B(s, t); }
        group B(source s, target t : Patient) { s where (id.exists()) -> t then C(s, t); }
        group C(source s, target t : Patient) { s -> t then B(s, t); }";
    assert_ends(ring, basic(0), Limit::Groups);
    let (open, close) = ("s -> t then {\n".repeat(90), "};\n".repeat(90));
    let deep = format!(
        "group Main(source s : Basic, target t : Patient) {{ {open} s where (id.exists()) -> t then Main(s, t); {close} }}"
    );
    assert_ends(deep, basic(0), Limit::Groups);
    let joined = "src.extension as a, src.extension as b, src.extension as c;";
    assert_ends(group(joined), basic(300), Limit::Steps);
    let first = "src.extension as a then { src.extension first as b then { src.extension last as c; }; };";
    assert_ends(group(first), basic(4_000), Limit::Steps);
    let elements = "src.extension as a then { src.extension as b -> tgt.name as n; };";
    let few = fhir::Limits::default();
    let map = compile(&group(elements)).expect("it compiles");
    let map = map.with_limits(weir::mapping::Limits { elements: 1_000, ..Default::default() });
    let record = Document::parse(basic(100), &few).expect("it is JSON");
    let ended = map.transform(&record, Uuid::nil()).map(|_| ());
    assert!(matches!(ended, Err(Error::Limit { limit: Limit::Elements, .. })), "{ended:?}");
    let nested = "group Main(source s : Basic, target t : Patient) { s -> t.extension as e then More(s, e); }
        group More(source s, target t : Extension) { s where (id.exists()) -> t.extension as e then More(s, e); }";
    assert_ends(nested, basic(0), Limit::Depth);
}

#[test]
fn texts_that_grow_reach_a_limit() {
    let doubled: String = (0..60).map(|n| format!(", append(v{n}, v{n}) as v{}\n", n + 1)).collect();
    assert_ends(group(&format!("src.id as i -> append(i, 'x') as v0{doubled};")), basic(0), Limit::Bytes);
    let doubled: String = (0..60).map(|n| format!(", (v{n} & v{n}) as v{}\n", n + 1)).collect();
    let ended = outcome(group(&format!("src.id as i -> append(i, 'x') as v0{doubled};")), basic(0));
    assert!(matches!(ended, Err(Error::Limit { .. } | Error::Expression { .. })), "{ended:?}");
    let long = format!(
        r#"{{"resourceType":"Basic","id":"{}","extension":[{}]}}"#,
        "x".repeat(100_000),
        vec!["{}"; 2_000].join(",")
    );
    assert_ends(group("src.extension as e log (%src.id + 'x');"), long.clone(), Limit::Bytes);
    assert_ends(group("src.extension as e -> tgt.name as n, n.text = (%src.id);"), long.clone(), Limit::Bytes);
    assert_ends(group("src.extension as e -> append(src.id, 'x') as y;"), long.clone(), Limit::Bytes);
    let seen = "src.id as i -> tgt.name as n, n.text = i then { src.extension as e where (%n.text.exists()); };";
    let ended = outcome(group(seen), long);
    assert!(matches!(ended, Err(Error::Limit { limit: Limit::Bytes | Limit::Steps, .. })), "{ended:?}");
}

#[test]
fn expressions_that_cost_too_much_reach_a_limit() {
    let walks = "src.extension as e where (%src.descendants().where($this is string).count() > 0) -> tgt.name as n;";
    let ended = outcome(group(walks), basic(3_000));
    assert!(matches!(ended, Err(Error::Expression { .. })), "{ended:?}");
    let patterns =
        r"src.extension as e where ('aaaaaaaa'.matches(%src.id & '(a|b)*a(a|b){300}' & value)) -> tgt.name as n;";
    let ended = outcome(group(patterns), basic(3_000));
    assert!(matches!(ended, Err(Error::Expression { .. })), "{ended:?}");
    let text = format!(r#"{{"resourceType":"Basic","id":"{}"}}"#, "ab".repeat(300_000));
    for condition in [
        r"id.matches('(a|b)*a(a|b){400}c')",
        r"id.replaceMatches('.*', '$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0$0').replaceMatches('.*', '$0$0$0$0$0$0') = 'x'",
        r"id.toChars().select($this & %src.id).count() > 0",
        r"(id & id & id & id & id & id & id & id & id & id).toChars().combine('x').count() > 0",
        r"id.toChars().repeat($this & 'x').count() > 0",
    ] {
        let ended = outcome(group(&format!("src where ({condition}) -> tgt.active = true;")), text.clone());
        assert!(matches!(ended, Err(Error::Expression { .. })), "{condition}: {ended:?}");
    }
}

#[test]
fn patterns_that_take_too_much_memory_are_refused() {
    assert_refused(
        group("src where (id.matches('(((\\\\w{50}){50}){50})')) -> tgt.active = true;"),
        "not valid or too large",
    );
    let many: String =
        (0..300).map(|n| format!("src where (id.matches('\\\\w{{1,12}}{n}')) -> tgt.active = true;\n")).collect();
    assert_refused(group(&many), "too large together");
}

#[test]
fn wide_objects_are_paid_for() {
    let members: String = (0..20_000).map(|n| format!(",\"m{n}\":1")).collect();
    let record = format!(r#"{{"resourceType":"Basic","extension":[{}]{members}}}"#, vec!["{}"; 20_000].join(","));
    assert_ends(group("src.extension as e then { src.author as a -> tgt.active = true; };"), record, Limit::Steps);
}

#[test]
fn deep_records_are_refused_before_a_map_sees_them() {
    for open in ["[", "{\"a\":", "[{\"a\":"] {
        let text = open.repeat(200_000);
        let fault =
            within(60, move || Document::parse(text, &fhir::Limits::default()).map(|_| ()).expect_err("it has no end"));
        assert!(fault.to_string().contains("nests too deeply"), "{fault}");
    }
}
