//! sprig's functions for defaults, choices and JSON; `fail`.

use super::{Function, Param};
use crate::error::Failure;
use crate::json::{self, Style};
use crate::limits::Meter;
use crate::value::Value;

pub(super) fn add(all: &mut Vec<Function>) {
    use Param::{Any, Bool, Text};
    let f = Function::plain;
    all.extend([
        f("default", &[Any], |_, args| {
            let given = args.from(1).first().filter(|given| given.truth());
            Ok(given.unwrap_or(args.value(0)).clone())
        })
        .with_rest(Any),
        f("empty", &[Any], |_, args| Ok((!args.value(0).truth()).into())),
        f("coalesce", &[], |_, args| Ok(args.all().iter().find(|value| value.truth()).cloned().unwrap_or(Value::Nil)))
            .with_rest(Any),
        f("all", &[], |_, args| Ok(args.all().iter().all(Value::truth).into())).with_rest(Any),
        f("any", &[], |_, args| Ok(args.all().iter().any(Value::truth).into())).with_rest(Any),
        f("ternary", &[Any, Any, Bool], |_, args| Ok(args.value(usize::from(!args.bool(2))).clone())),
        f("fail", &[Text], |_, args| Err(Failure::Fail(args.shared_text(0)))),
        f("fromJson", &[Text], |meter, args| match json::decode_value(args.text(0), meter) {
            Err(Failure::Message(_)) => Ok(Value::Nil),
            result => result,
        }),
        f("mustFromJson", &[Text], |meter, args| json::decode_value(args.text(0), meter)),
        f("toJson", &[Any], |meter, args| or_empty(json::encode(args.value(0), Style::Compact, meter))),
        f("mustToJson", &[Any], |meter, args| must(json::encode(args.value(0), Style::Compact, meter))),
        f("toPrettyJson", &[Any], |meter, args| or_empty(json::encode(args.value(0), Style::Pretty, meter))),
        f("mustToPrettyJson", &[Any], |meter, args| must(json::encode(args.value(0), Style::Pretty, meter))),
        f("toRawJson", &[Any], raw),
        f("mustToRawJson", &[Any], raw),
    ]);
}

fn raw(meter: &mut Meter, args: &super::Args<'_>) -> Result<Value, Failure> {
    must(json::encode(args.value(0), Style::Raw, meter))
}

fn must(text: Result<crate::Text, Failure>) -> Result<Value, Failure> {
    text.map(Value::Text)
}

/// sprig's functions without `must` swallow what JSON cannot express.
fn or_empty(text: Result<crate::Text, Failure>) -> Result<Value, Failure> {
    match text {
        Err(Failure::Message(_)) => Ok("".into()),
        text => must(text),
    }
}
