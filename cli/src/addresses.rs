//! Addresses: where roles reach each other, and the public port.

use std::{fs, net::SocketAddr, path::Path};

use anyhow::{Context as _, bail};
use tokio::net::TcpListener;

use crate::{
    config::{Config, non_empty},
    data_dir::write_atomically,
};

/// Files in the data folder with the addresses of services of a running `reelmill up`.
const TRANSCODE_ADDRESS_FILE: &str = "transcode.address";
const UPLOAD_ADDRESS_FILE: &str = "upload.address";

/// Addresses of the other roles.
#[derive(Debug, Clone)]
pub struct Addresses {
    pub auth: String,
    pub upload: String,
    pub transcode: String,
}

impl Addresses {
    /// The configured address of each role, or the one it listens on.
    pub fn configured(config: &Config) -> Self {
        let of = |address: &str, listen: &str| {
            non_empty(address).unwrap_or_else(|| {
                if listen.starts_with("unix://") { listen.to_owned() } else { format!("http://{listen}") }
            })
        };
        Self {
            auth: of(&config.auth.address, &config.auth.listen),
            upload: of(&config.upload.address, &config.upload.listen),
            transcode: of(&config.transcode.address, &config.transcode.listen),
        }
    }
}

/// Where `reelmill admin` reaches the transcode and the upload service: the configured address, the one of a `reelmill up` on
/// the same data folder, or the default.
pub fn admin_addresses(config: &Config) -> (String, String) {
    let of_up = |file: &str| fs::read_to_string(config.data.dir.join(file)).ok();
    let address = |configured: &str, file: &str, default: String| {
        non_empty(configured)
            .or_else(|| of_up(file).map(|address| address.trim().to_owned()))
            .unwrap_or(default)
    };
    let defaults = Addresses::configured(config);
    (
        address(&config.transcode.address, TRANSCODE_ADDRESS_FILE, defaults.transcode),
        address(&config.upload.address, UPLOAD_ADDRESS_FILE, defaults.upload),
    )
}

/// Stores the services' addresses in the data folder, for [`admin_addresses`].
pub fn store_addresses(data: &Path, addresses: &Addresses) -> std::io::Result<()> {
    write_atomically(&data.join(TRANSCODE_ADDRESS_FILE), &addresses.transcode)?;
    write_atomically(&data.join(UPLOAD_ADDRESS_FILE), &addresses.upload)
}

/// Binds the public port.
pub async fn bind_public(address: &str) -> anyhow::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Ok(listener) => Ok(listener),
        Err(error) if error.kind() == std::io::ErrorKind::AddrInUse => {
            bail!("{address} is in use by another program; choose another with --listen HOST:PORT")
        }
        Err(error) => Err(error).with_context(|| format!("cannot listen on {address}")),
    }
}

/// The URL at which this process reaches its own public port.
pub fn local_url(bound: SocketAddr) -> String {
    match bound {
        SocketAddr::V4(v4) if v4.ip().is_unspecified() => format!("http://127.0.0.1:{}", v4.port()),
        SocketAddr::V6(v6) if v6.ip().is_unspecified() => format!("http://[::1]:{}", v6.port()),
        bound => format!("http://{bound}"),
    }
}
