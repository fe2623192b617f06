//! What a router routes, read from the router itself: a list beside it could miss one.

use std::collections::BTreeSet;

use axum::Router;

/// Method and path of every route that is for more than looking, from the text that the router has for debugging.
pub fn changing(router: &Router) -> BTreeSet<(String, String)> {
    let text = format!("{router:?}");
    // Only what is routed by path; what is below no path changes nothing.
    let text = text.split("fallback_router:").next().unwrap_or_default();
    let (endpoints, node) = text.rsplit_once("node: Node { paths: {").expect("the paths of a router");
    let mut changing = BTreeSet::new();
    let mut paths = 0;
    for entry in node.split("RouteId(").skip(1) {
        let (id, rest) = entry.split_once(')').expect("a number");
        let path = rest.split('"').nth(1).expect("a path");
        let found = endpoints.split(&format!("RouteId({id}): MethodRouter(")).nth(1);
        let endpoint = found.and_then(|rest| rest.split("allow_header").next());
        let endpoint = endpoint.unwrap_or_else(|| panic!("{path} says which methods it takes: {text}"));
        paths += 1;
        for method in ["delete", "patch", "post", "put", "connect"] {
            let told =
                endpoint.split(&format!(" {method}: ")).nth(1).unwrap_or_else(|| panic!("{method} of {endpoint}"));
            if !told.starts_with("None") {
                changing.insert((method.to_uppercase(), path.to_owned()));
            }
        }
    }
    assert!(paths > 5, "a router says what it routes: {text}");
    changing
}
