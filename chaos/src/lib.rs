//! The black-box judge of pgsteer: an embedded Kubernetes cluster, the faults that it can suffer, and the rigs that tests of the
//! other crates stand on.
//!
//! It imports neither the controller nor the probe: a judge that shares code with the accused repeats its mistakes.

pub mod bench;
pub mod browser;
pub mod cluster;
pub mod console;
pub mod demo;
pub mod fault;
pub mod ground;
pub mod history;
pub mod host_time;
pub mod http_get;
pub mod install;
pub mod interrupt;
pub mod jaeger;
pub mod judge;
pub mod mesh;
pub mod oracle;
pub mod postgres;
pub mod prometheus;
pub mod record;
pub mod report;
pub mod scenario;
pub mod textbook;
pub mod unfinished;
pub mod wait;
pub mod workload;
