//! sprig's functions on types.

use super::{Function, Param};
use crate::compare;
use crate::value::Value;

pub(super) fn add(all: &mut Vec<Function>) {
    use Param::{Any, Text};
    let f = Function::plain;
    all.extend([
        f("typeOf", &[Any], |_, args| Ok(args.value(0).type_name().into())),
        f("typeIs", &[Text, Any], |_, args| {
            Ok((args.text(0) == args.value(1).type_name().as_bytes()).into())
        }),
        f("typeIsLike", &[Text, Any], |_, args| {
            let name = args.value(1).type_name().as_bytes();
            Ok((args.text(0) == name || name.strip_prefix(b"*") == Some(args.text(0))).into())
        }),
        f("kindOf", &[Any], |_, args| Ok(args.value(0).kind_name().into())),
        f("kindIs", &[Text, Any], |_, args| Ok((args.text(0) == args.value(1).kind_name().as_bytes()).into())),
        f("deepEqual", &[Any, Any], |meter, args| {
            Ok(Value::Bool(compare::deep(args.value(0), args.value(1), meter)?))
        }),
    ]);
}
