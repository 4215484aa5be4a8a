//! A Prometheus of a test's own: Debian's program, which scrapes what it is told to and is asked by its HTTP interface.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    time::Duration,
};

use serde_json::Value;

use crate::{
    cluster::{Beside, Error, free_ports},
    http_get,
};

/// Where Debian puts it.
const PROGRAM: &str = "/usr/bin/prometheus";

/// A running Prometheus.
#[derive(Debug)]
pub struct Prometheus {
    beside: Beside,
    address: SocketAddr,
}

impl Prometheus {
    /// Starts one with its configuration and data under `directory`, which must be empty. It keeps exemplars and scrapes `targets` every
    /// second, as jobs of these names.
    pub async fn start(directory: &Path, targets: &[(&str, SocketAddr)], rules: &[&Path]) -> Result<Self, Error> {
        let [port] = free_ports().map_err(Error::io("find a free port for", directory))?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        std::fs::create_dir_all(directory).map_err(Error::io("create", directory))?;
        let config = directory.join("prometheus.yml");
        std::fs::write(&config, configuration(targets, rules)).map_err(Error::io("write", &config))?;
        let args = vec![
            format!("--config.file={}", config.display()),
            format!("--storage.tsdb.path={}", directory.join("data").display()),
            format!("--web.listen-address={address}"),
            "--enable-feature=exemplar-storage".to_owned(),
        ];
        let beside = Beside::start(directory, "prometheus", Path::new(PROGRAM), args, &[])?;
        let prometheus = Self { beside, address };
        let ready = prometheus.beside.until_ready("Prometheus to be ready", || async {
            match http_get::get(address, "/-/ready", "*/*").await {
                Ok((200, _)) => Ok(()),
                other => Err(format!("{other:?}")),
            }
        });
        ready.await?;
        Ok(prometheus)
    }

    /// The series that an expression gives at this moment, each with its labels and its value.
    pub async fn query(&self, expression: &str) -> Result<Vec<Value>, String> {
        let query = http_get::query(&[("query", expression)]);
        let data = self.ask(&format!("/api/v1/query?{query}")).await?;
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }

    /// The series that an expression gives anywhere between `start` and `end` (seconds since 1970), looked at every `step`.
    pub async fn range(&self, expression: &str, start: f64, end: f64, step: Duration) -> Result<Vec<Value>, String> {
        let [start, end, step] = [start, end, step.as_secs_f64()].map(|seconds| seconds.to_string());
        let query = http_get::query(&[("query", expression), ("start", &start), ("end", &end), ("step", &step)]);
        let data = self.ask(&format!("/api/v1/query_range?{query}")).await?;
        Ok(data["result"].as_array().cloned().unwrap_or_default())
    }

    /// The exemplars behind the series that an expression names, seen between `start` and `end` (seconds since 1970).
    pub async fn exemplars(&self, expression: &str, start: f64, end: f64) -> Result<Vec<Value>, String> {
        let (start, end) = (start.to_string(), end.to_string());
        let query = http_get::query(&[("query", expression), ("start", &start), ("end", &end)]);
        let data = self.ask(&format!("/api/v1/query_exemplars?{query}")).await?;
        let series = data.as_array().cloned().unwrap_or_default();
        let all = series.iter().filter_map(|series| series["exemplars"].as_array());
        Ok(all.flatten().cloned().collect())
    }

    /// Asks it, and answers the data.
    async fn ask(&self, path: &str) -> Result<Value, String> {
        let answer = http_get::get(self.address, path, "*/*").await;
        let (status, body) = answer.map_err(|error| error.to_string())?;
        let mut answer: Value = serde_json::from_str(&body).map_err(|error| format!("{status}, {error}: {body}"))?;
        if answer["status"] == "success" {
            Ok(answer["data"].take())
        } else {
            Err(format!("{path}: status {status}: {body}"))
        }
    }
}

fn configuration(targets: &[(&str, SocketAddr)], rules: &[&Path]) -> String {
    let jobs: Vec<Value> = targets
        .iter()
        .map(|(job, address)| {
            serde_json::json!({ "job_name": job, "static_configs": [{ "targets": [address.to_string()] }] })
        })
        .collect();
    // JSON is YAML.
    serde_json::json!({
        "global": { "scrape_interval": "1s", "evaluation_interval": "1s" },
        "rule_files": rules,
        "scrape_configs": jobs,
    })
    .to_string()
}
