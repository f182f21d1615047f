//! What is written is read again as it was meant, and what is taken back leaves no trace.

use super::generate::{self, Random};
use super::parse;
use crate::yaml::style::{Form, form};
use crate::{Document, Error, ErrorKind, Kind, NodeId, Scalar, Value};

const CIPHERTEXT: &str = "ENC[AES256_GCM,data:q+Zk/w==,iv:AAAA+/8=,tag:b64==,type:str]";

/// The texts that are YAML, of the corpus and of what random changes make of it.
fn documents(count: usize) -> Vec<Vec<u8>> {
    let mut texts = generate::corpus();
    texts.extend(generate::mutants(count));
    texts.extend(generate::styled(count / 4));
    texts.retain(|text| parse(text).is_ok_and(|document| !document.is_empty()));
    texts
}

fn cases() -> usize {
    std::env::var("BULLA_YAML_CASES").ok().and_then(|n| n.parse().ok()).unwrap_or(20_000)
}

/// The single values that stand in the text themselves, in its order.
fn scalars(document: &Document) -> Vec<NodeId> {
    let all = document.roots().iter().flat_map(|&root| document.subtree(root));
    all.filter(|&id| document.kind(id) == Kind::Scalar && !document.is_virtual(id)).collect()
}

fn show(text: &[u8]) -> String {
    format!("{}\n{}", text.escape_ascii(), String::from_utf8_lossy(text))
}

#[test]
fn a_text_comes_back_byte_for_byte_when_its_values_do() {
    let mut restored = 0;
    for text in documents(cases()) {
        let plain = parse(&text).unwrap();
        // sops encrypts no null.
        let chosen: Vec<NodeId> = scalars(&plain).into_iter().filter(|&id| plain.scalar(id) != Scalar::Null).collect();
        let mut patch = plain.patch();
        for &id in &chosen {
            patch.set_value(id, &Value::str(CIPHERTEXT)).unwrap();
        }
        let encrypted = patch.finish();
        let cipher = parse(encrypted.expose())
            .unwrap_or_else(|error| panic!("{error}\n{}\nbecame\n{}", show(&text), show(encrypted.expose())));
        let theirs: Vec<NodeId> =
            scalars(&cipher).into_iter().filter(|&id| cipher.scalar(id) != Scalar::Null).collect();
        assert_eq!(theirs.len(), chosen.len(), "{}\nbecame\n{}", show(&text), show(encrypted.expose()));
        let mut back = cipher.patch();
        for (&new, &old) in theirs.iter().zip(&chosen) {
            assert_eq!(
                cipher.scalar(new).as_str(),
                Some(CIPHERTEXT),
                "{}\nbecame\n{}",
                show(&text),
                show(encrypted.expose())
            );
            if plain.restores(old) {
                restored += 1;
                back.set_scalar(new, &plain.scalar(old)).unwrap();
            } else {
                back.set_source(new, plain.source(old));
            }
        }
        let back = back.finish();
        // A block header in the first column, where nothing else could stand, may come back a space further in.
        let moved = |text: &[u8]| text.iter().copied().filter(|&byte| byte != b' ').collect::<Vec<u8>>();
        let header = text.windows(2).any(|pair| pair == b"\n|" || pair == b"\n>");
        assert!(
            back.expose() == text || (header && moved(back.expose()) == moved(&text)),
            "{}\nbecame\n{}\nand then\n{}",
            show(&text),
            show(encrypted.expose()),
            show(back.expose())
        );
    }
    assert!(restored > 1_000, "only {restored} values came back by themselves");
}

#[test]
fn values_of_common_forms_come_back_by_themselves() {
    let text =
        b"a: text\nb: 'it''s'\nc: \"x\\n\"\nd: 5\ne: 2.5\nf: true\ng: |\n  one\n\n  two\nh: |-\n    one\ni: !Ref x\n\
        j: [1, 'a', \"b\"]\nk:\n  - |\n    text\n  - |+\n    text\n\n  - last\n";
    let document = parse(text).unwrap();
    for id in scalars(&document) {
        assert!(document.restores(id), "{}", document.source(id).escape_ascii());
    }
    let text = b"a: 0x1F\nb: \"\\u0041\"\nc: >\n  x\nd: 1.50\ne: True\nf: |2\n  x\ng: | # c\n  x\nh: !!str 5\ni: [plain]\nj: *k\n";
    let document = parse(&[&b"k: &k 1\n"[..], text].concat()).unwrap();
    for id in scalars(&document).into_iter().skip(1) {
        assert!(!document.restores(id), "{}", document.source(id).escape_ascii());
    }
}

#[test]
fn an_entry_that_is_added_and_removed_leaves_no_trace() {
    let metadata = Value::Map(vec![
        (
            "age".into(),
            Value::Seq(vec![Value::Map(vec![
                ("recipient".into(), Value::str("age1qqq")),
                (
                    "enc".into(),
                    Value::str("-----BEGIN AGE ENCRYPTED FILE-----\nYWdl\n-----END AGE ENCRYPTED FILE-----\n"),
                ),
            ])]),
        ),
        ("lastmodified".into(), Value::str("2024-01-01T00:00:00Z")),
        ("mac".into(), Value::str(CIPHERTEXT)),
        ("version".into(), Value::str("3.13.3")),
    ]);
    for text in documents(cases()) {
        let before = parse(&text).unwrap();
        if before.roots().iter().any(|&root| before.find(root, &[crate::Step::Key("sops".into())]).is_some()) {
            continue;
        }
        let mut patch = before.patch();
        for &root in before.roots() {
            patch.insert(root, &[("sops".into(), metadata.clone())]).unwrap();
        }
        let with = patch.finish();
        let after = parse(with.expose())
            .unwrap_or_else(|error| panic!("{error}\n{}\nbecame\n{}", show(&text), show(with.expose())));
        let mut patch = after.patch();
        for (&root, &old) in after.roots().iter().zip(before.roots()) {
            let found = after.find(root, &[crate::Step::Key("sops".into())]).unwrap();
            assert!(after.to_value(found) == metadata, "{}\nbecame\n{}", show(&text), show(with.expose()));
            let Value::Map(mut entries) = after.to_value(root) else { panic!() };
            entries.retain(|(key, _)| key != "sops");
            assert!(
                same(&Value::Map(entries), &before.to_value(old)),
                "{}\nbecame\n{}",
                show(&text),
                show(with.expose())
            );
            patch
                .remove(found)
                .unwrap_or_else(|error| panic!("{error}\n{}\nbecame\n{}", show(&text), show(with.expose())));
        }
        let back = patch.finish();
        // A null, or an anchor of one, that stands for a document is replaced for good.
        let gap = |&root: &NodeId| form(before.node(root).style) == Form::GapDocument;
        let null = before.roots().iter().any(|root| {
            gap(root) && (!before.source(*root).is_empty() || text.contains(&b'&') || text.contains(&b'!'))
        });
        assert!(
            null || back.expose() == text,
            "{}\nbecame\n{}\nand then\n{}",
            show(&text),
            show(with.expose()),
            show(back.expose())
        );
    }
}

#[test]
fn a_change_is_read_as_it_was_meant() {
    let mut random = Random(77);
    let mut done = 0;
    for text in documents(cases()) {
        // An anchor's change is its aliases' change, too; and `!!binary` may mean anything.
        let document = parse(&text).unwrap();
        if text.contains(&b'*') || text.windows(4).any(|part| part == b"%TAG") {
            continue;
        }
        for _ in 0..3 {
            let (patched, expected, what) = change(&document, &mut random);
            let patched = match patched {
                Ok(patched) => patched,
                Err(error) => {
                    assert!(
                        matches!(error.kind, ErrorKind::Unrepresentable(_) | ErrorKind::DuplicateKey(_)),
                        "{error}: {what}\n{}",
                        show(&text)
                    );
                    continue;
                }
            };
            let after = parse(&patched)
                .unwrap_or_else(|error| panic!("{error}: {what}\n{}\nbecame\n{}", show(&text), show(&patched)));
            let mut got: Vec<Value> = after.roots().iter().map(|&root| after.to_value(root)).collect();
            if what.starts_with("insert") && !text.ends_with(b"\n") {
                // Behind a block without a last line break nothing can be added but before its entry.
                for tree in &mut got {
                    to_end(tree);
                }
            }
            assert!(
                got.len() == expected.len() && got.iter().zip(&expected).all(|(a, b)| same(a, b)),
                "{what}\n{}\nbecame\n{}",
                show(&text),
                show(&patched)
            );
            done += 1;
        }
    }
    assert!(done > 1_000, "only {done} changes were made");
}

/// Moves what was inserted to the end of its map.
fn to_end(value: &mut Value) {
    match value {
        Value::Map(entries) => {
            if let Some(place) = entries.iter().position(|(key, _)| key == "new key") {
                let entry = entries.remove(place);
                entries.push(entry);
            }
            for (_, value) in entries.iter_mut() {
                to_end(value);
            }
        }
        Value::Seq(items) => items.iter_mut().for_each(to_end),
        _ => {}
    }
}

/// One change at random: the new text, the trees it should have, and what was done.
fn change(document: &Document, random: &mut Random) -> (Result<Vec<u8>, Error>, Vec<Value>, String) {
    let mut trees: Vec<Value> = document.roots().iter().map(|&root| document.to_value(root)).collect();
    let all: Vec<NodeId> = document
        .roots()
        .iter()
        .flat_map(|&root| document.subtree(root))
        .filter(|&id| document.kind(id) != Kind::Comment)
        .collect();
    let id = all[random.below(all.len())];
    let place = path(document, id);
    let mut patch = document.patch();
    let value = generate::value(random, 2);
    let tree = at(&mut trees, &place);
    let (result, what) = match (random.below(4), document.kind(id)) {
        (0, Kind::Map) => {
            let Value::Map(entries) = tree else { panic!() };
            entries.push(("new key".into(), value.clone()));
            (patch.insert(id, &[("new key".into(), value.clone())]), "insert")
        }
        (0, Kind::Seq) => {
            let Value::Seq(items) = tree else { panic!() };
            items.push(value.clone());
            (patch.push(id, &value), "push")
        }
        (1, _) if place.len() > 1 => {
            let parent = at(&mut trees, &place[..place.len() - 1]);
            let index = place[place.len() - 1];
            match parent {
                Value::Map(entries) => drop(entries.remove(index)),
                Value::Seq(items) => drop(items.remove(index)),
                _ => {}
            }
            (patch.remove(id), "remove")
        }
        _ if place.len() > 1 => {
            *tree = value.clone();
            (patch.set_value(id, &value), "set")
        }
        _ => {
            let value = Value::Map(vec![("k".into(), value.clone())]);
            *tree = value.clone();
            (patch.set_value(id, &value), "set root")
        }
    };
    let value = if text_of(&value).len() > 300 { Value::str("a long one") } else { value };
    let what = format!("{what} {:?} at {place:?} to {}", String::from_utf8_lossy(document.source(id)), text_of(&value));
    (result.map(|()| patch.finish().expose().to_vec()), trees, what)
}

fn text_of(value: &Value) -> String {
    let text = crate::emit(std::slice::from_ref(value), crate::Syntax::Yaml, crate::EmitOptions::default()).unwrap();
    String::from_utf8_lossy(text.expose()).into_owned()
}

/// The way to a node by the places of entries.
fn path(document: &Document, id: NodeId) -> Vec<usize> {
    match document.parent(id) {
        None => vec![document.roots().iter().position(|&root| root == id).unwrap()],
        Some(parent) => {
            let mut siblings = document.children(parent).filter(|&child| document.kind(child) != Kind::Comment);
            let mut way = path(document, parent);
            way.push(siblings.position(|sibling| sibling == id).unwrap());
            way
        }
    }
}

fn at<'a>(trees: &'a mut [Value], place: &[usize]) -> &'a mut Value {
    let mut tree = &mut trees[place[0]];
    for &index in &place[1..] {
        tree = match tree {
            Value::Map(entries) => &mut entries[index].1,
            Value::Seq(items) => &mut items[index],
            _ => panic!(),
        };
    }
    tree
}

/// Equal, and NaN equal to NaN.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan()),
        (Value::Seq(a), Value::Seq(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Map(a), Value::Map(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((k, a), (l, b))| k == l && same(a, b))
        }
        _ => a == b,
    }
}

#[test]
fn what_is_emitted_is_read_as_it_was() {
    let mut random = Random(5);
    for _ in 0..cases() {
        let values: Vec<Value> =
            (0..=random.below(3)).map(|_| Value::Map(vec![("root".into(), generate::value(&mut random, 3))])).collect();
        let options = crate::EmitOptions { indent: [None, Some(2), Some(3)][random.below(3)] };
        let text = crate::emit(&values, crate::Syntax::Yaml, options).unwrap();
        let document = parse(text.expose()).unwrap_or_else(|error| panic!("{error}\n{}", show(text.expose())));
        let got: Vec<Value> = document.roots().iter().map(|&root| document.to_value(root)).collect();
        assert!(
            got.len() == values.len() && got.iter().zip(&values).all(|(a, b)| same(a, b)),
            "{}",
            show(text.expose())
        );
    }
}

#[test]
fn a_comment_takes_one_line_of_text() {
    let document = parse(b"# one\na: 1 # two\n").unwrap();
    let comments: Vec<NodeId> =
        document.subtree(document.roots()[0]).filter(|&id| document.kind(id) == Kind::Comment).collect();
    let mut patch = document.patch();
    for &id in &comments {
        assert!(document.restores(id));
        patch.set_scalar(id, &Scalar::str("ENC[x]")).unwrap();
        assert!(document.patch().set_scalar(id, &Scalar::str("a\nb")).is_err());
    }
    assert_eq!(patch.finish().expose(), b"#ENC[x]\na: 1 #ENC[x]\n");
}

#[test]
fn several_entries_may_go_at_once() {
    let texts = [
        "x:\n  a: 1\n  b: 2 # two\n  # three\n  c: 3\n  d: |\n    4\ny: 5\n",
        "x: {a: 1, b: 2, c: 3, d: 4}\n",
        "x: {\n  a: 1, # one\n  b: 2, # two\n  c: 3,\n  d: 4,\n}\n",
        "x:\n- a\n- b # two\n# three\n- - c\n  - cc\n- d: 4\n",
        "x: [a, b, c, d]\n",
        "x: [\n  a, # one\n  b: 2,\n  c, # three\n  d\n]\n",
        "y:\n- x:\n    a: 1\n    b: 2\n    c: 3\n    d: 4\n",
        "y:\n- a: 1\n  b: 2\n  c: 3\n  d: 4\n",
        "a: 1\nb: 2\nc: 3\nd: 4",
        "---\na: 1\nb: 2\nc: 3\nd: 4\n",
    ];
    for text in texts {
        let document = parse(text.as_bytes()).unwrap();
        let all = document.subtree(document.roots()[0]);
        let parent = all
            .into_iter()
            .find(|&id| document.children(id).filter(|&child| document.kind(child) != Kind::Comment).count() == 4)
            .unwrap();
        let entries: Vec<NodeId> =
            document.children(parent).filter(|&child| document.kind(child) != Kind::Comment).collect();
        for chosen in 0..16_u32 {
            for backwards in [false, true] {
                let mut places: Vec<usize> = (0..4).filter(|place| chosen & (1 << place) != 0).collect();
                let mut expected = vec![document.to_value(document.roots()[0])];
                let mut way = path(&document, parent);
                way[0] = 0;
                for &place in places.iter().rev() {
                    match at(&mut expected, &way) {
                        Value::Map(entries) => drop(entries.remove(place)),
                        Value::Seq(items) => drop(items.remove(place)),
                        _ => panic!(),
                    }
                }
                if backwards {
                    places.reverse();
                }
                let mut patch = document.patch();
                for &place in &places {
                    patch.remove(entries[place]).unwrap();
                }
                let changed = patch.finish();
                let after = parse(changed.expose())
                    .unwrap_or_else(|error| panic!("{error}: {places:?}\n{}", show(changed.expose())));
                let got = after.to_value(after.roots()[0]);
                assert!(same(&got, &expected[0]), "{places:?} of\n{text}\nleft\n{}", show(changed.expose()));
            }
        }
    }
}

#[test]
fn an_entry_may_be_replaced_by_one_of_the_same_key() {
    for text in [
        "a: 1\nsops:\n    mac: x\n",
        "sops:\n    mac: x\n",
        "---\nsops:\n    mac: x\n",
        "a: 1\nsops:\n    mac: x\n# end\n",
        "sops:\n    mac: x\na: |\n  text\n",
        "a: 1\nsops:\n    mac: x",
        "{\"a\": 1, \"sops\": {\"mac\": \"x\"}}\n",
        "{\"sops\": {\"mac\": \"x\"}}\n",
        "{\n  \"sops\": {\"mac\": \"x\"},\n  \"a\": 1\n}\n",
        "a: 1\nsops:\n    mac: x\n---\nb: 2\nsops:\n    mac: y\n",
    ] {
        let document = parse(text.as_bytes()).unwrap();
        let new = Value::Map(vec![("mac".into(), Value::str("new\nlines\n")), ("version".into(), Value::str("3"))]);
        let mut patch = document.patch();
        for &root in document.roots() {
            patch.remove(document.find(root, &[crate::Step::Key("sops".into())]).unwrap()).unwrap();
            patch.insert(root, &[("sops".into(), new.clone())]).unwrap();
        }
        let changed = patch.finish();
        let after = parse(changed.expose()).unwrap_or_else(|error| panic!("{error}\n{}", show(changed.expose())));
        for (&root, &old) in after.roots().iter().zip(document.roots()) {
            let Value::Map(mut expected) = document.to_value(old) else { panic!() };
            expected.retain(|(key, _)| key != "sops");
            expected.push(("sops".into(), new.clone()));
            assert!(same(&after.to_value(root), &Value::Map(expected)), "{text}\nbecame\n{}", show(changed.expose()));
        }
    }
}

#[test]
fn a_comment_that_yaml_v3_loses_is_in_the_tree_nevertheless() {
    for text in ["a: [ # c\n  b]\n", "%YAML 1.1 # c\n---\na: b\n", "a: {\n  b: c # c\n  # d\n  }\n", "a: | # c\n  b\n"]
    {
        let document = parse(text.as_bytes()).unwrap();
        let comments =
            (0..document.len()).filter(|&id| document.kind(NodeId(u32::try_from(id).unwrap())) == Kind::Comment);
        assert_eq!(comments.count(), text.matches('#').count(), "{text}");
    }
}

#[test]
fn what_an_alias_repeats_is_changed_by_way_of_the_alias() {
    let document = parse(b"a: &a {b: c}\nd: *a\n").unwrap();
    let alias = document.find(document.roots()[0], &[crate::Step::Key("d".into())]).unwrap();
    let inner = document.find(alias, &[crate::Step::Key("b".into())]).unwrap();
    assert!(document.is_alias(alias) && document.is_virtual(inner) && document.source(alias) == b"*a");
    let refused = |result: Result<(), Error>| matches!(result.unwrap_err().kind, ErrorKind::Path(_));
    assert!(refused(document.patch().set_value(inner, &Value::Int(1))));
    assert!(refused(document.patch().set_scalar(inner, &Scalar::Int(1))));
    assert!(refused(document.patch().remove(inner)));
    assert!(refused(document.patch().insert(alias, &[("x".into(), Value::Null)])));
    let mut patch = document.patch();
    patch.set_value(alias, &Value::Map(vec![("b".into(), Value::str(CIPHERTEXT))])).unwrap();
    let changed = patch.finish();
    let expected = format!("a: &a {{b: c}}\nd: {{\"b\": \"{CIPHERTEXT}\"}}\n");
    assert_eq!(changed.expose(), expected.as_bytes());
}
