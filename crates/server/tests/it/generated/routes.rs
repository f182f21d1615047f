//! What can be asked, as the real server declares it: paths, methods and fields of its `OpenAPI`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

/// A declared path.
#[derive(Clone, Debug)]
pub struct Route {
    /// Below `/v1/`, without the name of the mount's world: `-kv2/data/{path}`, `sys/mounts/{path}`.
    pub template: String,
    /// `GET`, `POST`, `PATCH`, `DELETE`, `LIST`, `SCAN`.
    pub methods: Vec<&'static str>,
    /// Fields of the body, with their kinds.
    pub fields: BTreeMap<String, String>,
}

/// Reads a document. `world` stands before the name of each mount.
pub fn read(document: &Value, world: &str) -> Vec<Route> {
    let paths = document["paths"].as_object().unwrap();
    paths.iter().map(|(path, item)| route(document, path, item, world)).collect()
}

fn route(document: &Value, path: &str, item: &Value, world: &str) -> Route {
    let template = path.trim_start_matches('/').replace(&format!("{world}-"), "-");
    let (mut methods, mut fields) = (Vec::new(), BTreeMap::new());
    for (verb, method) in [("get", "GET"), ("post", "POST"), ("patch", "PATCH"), ("delete", "DELETE")] {
        let operation = &item[verb];
        if operation.is_null() {
            continue;
        }
        methods.push(method);
        let queries = operation["parameters"].as_array().into_iter().flatten();
        for name in queries.filter_map(|one| one["name"].as_str()) {
            match name {
                "list" => methods.push("LIST"),
                "scan" => methods.push("SCAN"),
                _ => {}
            }
        }
        let mut schema = &operation["requestBody"]["content"]["application/json"]["schema"];
        if let Some(name) = schema["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
            schema = &document["components"]["schemas"][name];
        }
        for (name, property) in schema["properties"].as_object().into_iter().flatten() {
            let text = |name: &str| property[name].as_str().unwrap_or_default();
            fields.insert(name.clone(), format!("{} {}", text("type"), text("format")).trim().to_owned());
        }
    }
    Route { template, methods, fields }
}

/// Templates without the names of their parameters: two servers may call them differently.
pub fn shapes(routes: &[Route]) -> BTreeSet<String> {
    routes.iter().map(|route| shape(&route.template)).collect()
}

/// One of them.
pub fn shape(template: &str) -> String {
    let segments = template.trim_end_matches('/').split('/');
    segments.map(|segment| if segment.starts_with('{') { "{}" } else { segment }).collect::<Vec<_>>().join("/")
}
