//! Wrapped answers: given once, byte for byte, to who has their token and nobody else.

use proptest::prelude::*;

use super::*;
use crate::json::Object;

impl World {
    async fn wrap(&self, data: Object, seconds: u64) -> TokenText {
        let request = Request {
            id: random::uuid().unwrap(),
            token: Some(self.root.clone()),
            wrap_ttl: Some(Duration::from_secs(seconds)),
            ..Request::new(Operation::Update, "sys/wrapping/wrap", data)
        };
        self.core.handle(request).await.unwrap().wrap_info.unwrap().token
    }

    async fn wrapping(&self, what: &str, token: &TokenText) -> Result<Response> {
        self.ask(Operation::Update, &format!("sys/wrapping/{what}"), object! { "token": token.expose() }).await
    }

    /// What is kept for a token.
    async fn kept(&self, token: &TokenText) -> Option<Vec<u8>> {
        let open = self.core.open().unwrap();
        let (hash, _) = open.tokens.find(token).await.unwrap()?;
        open.tokens.cubbyhole(&hash).unwrap().get("response").await.unwrap().map(|kept| kept.to_vec())
    }
}

#[test]
fn what_was_wrapped_comes_out_once_and_as_it_was_however_often_it_is_wrapped_anew() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = runtime.block_on(World::new());
    let data = prop::collection::btree_map("[a-z]{1,5}", any::<String>().prop_map(Value::from), 1..5);
    proptest!(ProptestConfig::with_cases(32), |(data in data, anew in 0_usize..3, seconds in 10_u64..3600, own in any::<bool>())| {
        runtime.block_on(async {
            let mut token = world.wrap(data.clone(), seconds).await;
            let kept = world.kept(&token).await.unwrap();
            for _ in 0..anew {
                let next = world.wrapping("rewrap", &token).await.unwrap().wrap_info.unwrap();
                prop_assert_eq!((next.ttl, next.path.as_str()), (i64::try_from(seconds).unwrap(), "sys/wrapping/wrap"));
                prop_assert_eq!(world.wrapping("unwrap", &token).await.unwrap_err().status, 400);
                token = next.token;
            }
            // A look takes nothing.
            for _ in 0..2 {
                let about = world.wrapping("lookup", &token).await.unwrap().data.unwrap();
                prop_assert_eq!(&about["creation_path"], &Value::from("sys/wrapping/wrap"));
                prop_assert_eq!(&about["creation_ttl"], &Value::from(seconds));
            }
            let still = world.kept(&token).await;
            prop_assert_eq!(still.as_ref(), Some(&kept));
            let given = if own {
                world.ask_as(&token, Operation::Update, "sys/wrapping/unwrap", object! {}).await
            } else {
                world.wrapping("unwrap", &token).await
            };
            let (_, body) = given.unwrap().raw.unwrap();
            prop_assert_eq!(&body, &kept);
            prop_assert!(crate::json::parse_object(&body).unwrap()["data"] == Value::Object(data));
            prop_assert_eq!(world.kept(&token).await, None);
            for what in ["unwrap", "rewrap", "lookup"] {
                prop_assert_eq!(world.wrapping(what, &token).await.unwrap_err().status, 400, "{}", what);
            }
            let late = world.ask_as(&token, Operation::Read, "cubbyhole/response", object! {}).await;
            prop_assert_eq!(late.unwrap_err().status, 403);
            Ok(())
        })?;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_unwrap_at_once_one_gets_it() {
    let world = Arc::new(World::new().await);
    for _ in 0..8 {
        let token = world.wrap(object! { "a": "b" }, 60).await;
        let all = (0..16).map(|number| {
            let (world, token) = (Arc::clone(&world), token.clone());
            tokio::spawn(async move {
                match number % 3 {
                    0 => world.wrapping("unwrap", &token).await,
                    1 => world.wrapping("rewrap", &token).await,
                    _ => world.ask_as(&token, Operation::Read, "cubbyhole/response", object! {}).await,
                }
            })
        });
        let mut got = 0;
        for one in all.collect::<Vec<_>>() {
            got += usize::from(one.await.unwrap().is_ok());
        }
        assert_eq!(got, 1);
    }
}

#[tokio::test]
async fn a_wrapped_answer_ends_and_no_other_token_gives_one() {
    let world = World::new().await;
    let short = world.wrap(object! { "a": "b" }, 1).await;
    let long = world.wrap(object! { "a": "b" }, 60).await;
    // Any token but that of a wrapped answer.
    for other in [world.root.clone(), world.child().await, TokenText::new(String::new())] {
        for what in ["unwrap", "rewrap", "lookup"] {
            assert_eq!(world.wrapping(what, &other).await.unwrap_err().status, 400, "{what}");
        }
    }
    // And with that one nothing else can be done.
    for (operation, path) in [
        (Operation::Read, "auth/token/lookup-self"),
        (Operation::Update, "auth/token/create"),
        (Operation::Update, "auth/token/renew-self"),
        (Operation::Read, "cubbyhole/wrapinfo"),
        (Operation::List, "cubbyhole/"),
    ] {
        let token = world.wrap(object! { "a": "b" }, 60).await;
        assert_eq!(world.ask_as(&token, operation, path, object! {}).await.unwrap_err().status, 403, "{path}");
    }
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(world.wrapping("unwrap", &short).await.unwrap_err().status, 400);
    assert!(world.wrapping("unwrap", &long).await.is_ok());
}

#[tokio::test]
async fn what_is_nested_as_deep_as_a_request_may_be_is_given_back_by_every_way() {
    let world = World::new().await;
    let mut deep = Value::from("x");
    // Below the field itself.
    for _ in 1..crate::json::MAX_DEPTH {
        deep = Value::Object(object! { "a": deep });
    }
    let data = object! { "a": deep };
    assert!(crate::json::parse_request(&crate::json::object_to_vec(&data)).as_ref() == Ok(&data));
    let token = world.wrap(data.clone(), 60).await;
    let read = world.ask_as(&token, Operation::Read, "cubbyhole/response", object! {}).await.unwrap();
    assert!(read.data.unwrap()["data"] == Value::Object(data.clone()));
    let token = world.wrap(data.clone(), 60).await;
    assert!(world.wrapping("unwrap", &token).await.is_ok());
    world.ask(Operation::Update, "cubbyhole/x", data.clone()).await.unwrap();
    assert!(world.ask(Operation::Read, "cubbyhole/x", object! {}).await.unwrap().data == Some(data));
}
