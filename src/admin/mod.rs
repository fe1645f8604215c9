//! What operators see and do: health, metrics, calls in progress, records, reload. JSON over HTTP on `[admin]`.
//!
//! It runs on the `back` runtime, asks the node through `Operations` and never touches the call path. Errors
//! are RFC 9457 problems; strangers, web pages included, are kept out by the guard.

mod api;
mod by;
mod guard;
mod kept;
mod listen;
pub mod metrics;
mod numbers;
pub mod operations;
pub mod problem;

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::extract::{ConnectInfo, Request};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::Response;
use tower_http::limit::RequestBodyLimitLayer;
use tower_http::timeout::TimeoutLayer;

use api::Desk;
pub use api::{AgentList, CallList, CdrList, GenerationList, MESSAGES, MISSING, NumberList, TrunkList};
pub use by::BY;
use guard::Guard;
use listen::Patience;
use metrics::Metrics;
pub use numbers::WARNING;
use operations::Operations;

/// The largest body that is read.
const BODY: usize = 1 << 20;
/// How long a request may wait for the node's answer.
const ANSWER: Duration = Duration::from_secs(15);
/// How long one that reads millions of numbers may.
const PUBLICATION: Duration = Duration::from_secs(600);

#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "[admin] addr {0} is not loopback: set the environment variable that token_env names, or use 127.0.0.1"
    )]
    TokenMissing(SocketAddr),
    #[error("[admin] addr {0}: {1}; choose another address")]
    Unusable(SocketAddr, io::Error),
}

/// `[admin]`, bound and not yet served.
pub struct Admin {
    listener: tokio::net::TcpListener,
    addr: SocketAddr,
    token: Option<String>,
}

impl Admin {
    /// Binds. `token`: what `token_env` holds; required unless `addr` is loopback, checked wherever it is set.
    pub async fn bind(addr: SocketAddr, token: Option<String>) -> Result<Admin, BindError> {
        let token = token.filter(|token| !token.is_empty());
        if token.is_none() && !addr.ip().is_loopback() {
            return Err(BindError::TokenMissing(addr));
        }
        let unusable = |error| BindError::Unusable(addr, error);
        let listener = tokio::net::TcpListener::bind(addr).await.map_err(unusable)?;
        let addr = listener.local_addr().map_err(unusable)?;
        Ok(Admin { listener, addr, token })
    }

    /// The address with the port that the system chose.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Serves until `stop` ends; requests that are being answered then are finished.
    pub async fn serve(
        self,
        node: Arc<dyn Operations>,
        metrics: Metrics,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> io::Result<()> {
        let openapi = Arc::new(OnceLock::new());
        let within = |time| TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, time);
        let router = api::router().merge(kept::router()).merge(numbers::router()).layer(within(ANSWER));
        let publications =
            api::publications().layer(within(PUBLICATION)).layer(middleware::from_fn(patiently));
        let router = router.merge(publications);
        let (router, description) = router.split_for_parts();
        openapi.set(described(description)).ok();
        let guard = Arc::new(Guard::new(self.addr, self.token.as_deref()));
        let app = router
            .layer(RequestBodyLimitLayer::new(BODY))
            .layer(middleware::from_fn_with_state(guard, guard::check))
            .layer(middleware::map_response(problem::in_place_of_plain_errors))
            .with_state(Desk { node, metrics, openapi });
        let app = app.into_make_service_with_connect_info::<Patience>();
        axum::serve(listen::Listener::new(self.listener), app).with_graceful_shutdown(stop).await
    }
}

/// The connection waits for the answer however long that takes.
async fn patiently(ConnectInfo(patience): ConnectInfo<Patience>, request: Request, next: Next) -> Response {
    let _patient = patience.begin();
    next.run(request).await
}

/// The OpenAPI description: utoipa's paths with the schemas of the types that are sent.
fn described(paths: utoipa::openapi::OpenApi) -> String {
    let mut description = serde_json::to_value(paths).unwrap_or_default();
    description["info"] = serde_json::json!({
        "title": "Strowger",
        "version": env!("CARGO_PKG_VERSION"),
        "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
    });
    description["components"]["schemas"] = api::schemas().into();
    description.to_string()
}
