//! The twin over a real socket: each documented semantic it stands for, and each way it can be made to fail.

mod faults;
mod graph;
mod push;
mod refusals;
mod risk;
mod sessions;

use super::{Config, Knobs, Special, Twin};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{net::TcpListener, time::timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// A running twin and an application's token for it.
struct Tenant {
    twin: Twin,
    base: String,
    client: Client,
    token: String,
    stop: CancellationToken,
}

impl Drop for Tenant {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn config() -> Config {
    Config { people: 5, knobs: Knobs::unthrottled(), ..Config::default() }
}

async fn tenant(config: Config) -> Tenant {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback has a free port");
    let base = format!("http://{}", listener.local_addr().expect("a bound socket has an address"));
    let twin = Twin::new(config);
    let stop = CancellationToken::new();
    twin.0.tasks.spawn(twin.clone().serve(listener, stop.clone().cancelled_owned()));
    let client = Client::builder().no_proxy().timeout(Duration::from_secs(20)).build().expect("a plain client");
    let mut tenant = Tenant { twin, base, client, token: String::new(), stop };
    let answer = tenant.app_token(&tenant.twin.0.config.client_id.clone(), "twin-secret").await;
    tenant.token = body(answer).await["access_token"].as_str().expect("a token").to_owned();
    tenant
}

async fn plain() -> Tenant {
    tenant(config()).await
}

async fn body(answer: Response) -> Value {
    answer.json().await.expect("the answer is JSON")
}

impl Tenant {
    async fn app_token(&self, client_id: &str, secret: &str) -> Response {
        self.scoped_token(client_id, secret, "https://graph.microsoft.com/.default").await
    }

    async fn scoped_token(&self, client_id: &str, secret: &str, scope: &str) -> Response {
        let url = format!("{}/{}/oauth2/v2.0/token", self.base, self.twin.0.config.tenant_id);
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", client_id),
            ("client_secret", secret),
            ("scope", scope),
        ];
        self.client.post(url).form(&form).send().await.expect("the login host answers")
    }

    fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, format!("{}{path}", self.base)).bearer_auth(&self.token)
    }

    async fn get(&self, path: &str) -> Response {
        self.request(Method::GET, path).send().await.expect("the twin answers")
    }

    async fn send(&self, method: Method, path: &str, body: &Value) -> Response {
        self.request(method, path).json(body).send().await.expect("the twin answers")
    }

    async fn revoke(&self, user: Uuid) -> Response {
        let path = format!("/v1.0/users/{user}/revokeSignInSessions");
        self.request(Method::POST, &path).send().await.expect("the twin answers")
    }

    async fn reset(&self, user: Uuid, password: &str) -> Response {
        let profile = json!({"passwordProfile": {"password": password, "forceChangePasswordNextSignIn": true}});
        self.send(Method::PATCH, &format!("/v1.0/users/{user}"), &profile).await
    }

    async fn control(&self, method: Method, path: &str, body: &Value) -> Response {
        self.client
            .request(method, format!("{}/twin{path}", self.base))
            .json(body)
            .send()
            .await
            .expect("the control plane answers")
    }

    /// A call to ARM, with a token for it.
    async fn arm(&self, method: Method, path: &str, body: &Value) -> Response {
        let scope = "https://management.azure.com/.default";
        let token = self.scoped_token(&self.twin.0.config.client_id, "twin-secret", scope).await;
        let token = token.json::<Value>().await.expect("JSON")["access_token"].as_str().expect("a token").to_owned();
        let request = self.client.request(method, format!("{}{path}", self.base)).bearer_auth(token);
        request.json(body).send().await.expect("the twin answers")
    }

    fn ada(&self) -> Uuid {
        self.twin.special(Special::Ada)
    }
}

/// What never comes must fail the test, not hang it.
async fn soon<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future).await.expect("this comes soon")
}

const STRONG: &str = "qR7-vT2_mN8.kZ4!hB6";
