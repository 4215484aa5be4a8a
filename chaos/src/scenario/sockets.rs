//! What a pod's sockets still have to tell the API server: bytes that were written and that nobody has acknowledged.

use std::collections::BTreeMap;

use crate::cluster::{Cluster, Error};
use crate::fault::{PodRef, pod_processes};

/// The ports that lead to the API server: that of the Service `kubernetes`, and its own.
const PORTS: [u16; 2] = [443, 6443];

/// Bytes under way to the API server, by the local end of each connection.
#[derive(Debug, Default)]
pub(super) struct Unsent(BTreeMap<String, u64>);

impl Unsent {
    /// Those of a pod.
    pub(super) fn of(cluster: &Cluster, pod: &PodRef) -> Result<Self, Error> {
        let processes = pod_processes(cluster, &pod.uid)?;
        let tables = processes.iter().flat_map(|process| {
            // All processes of a pod share its network; one that has just ended shows nothing.
            ["tcp", "tcp6"].map(|table| std::fs::read_to_string(format!("/proc/{}/net/{table}", process.pid)))
        });
        let mut all = Self::default();
        for table in tables.flatten() {
            all.0.extend(parse(&table));
        }
        Ok(all)
    }

    /// On how many connections something is under way.
    pub(super) fn connections(&self) -> usize {
        self.0.values().filter(|bytes| **bytes > 0).count()
    }
}

/// Lines of `/proc/<pid>/net/tcp`: `sl local remote st tx:rx …`, all in hexadecimal.
fn parse(table: &str) -> BTreeMap<String, u64> {
    let lines = table.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let (local, remote, state, queues) = (fields.get(1)?, fields.get(2)?, fields.get(3)?, fields.get(4)?);
        let port = u16::from_str_radix(remote.rsplit_once(':')?.1, 16).ok()?;
        let bytes = u64::from_str_radix(queues.split_once(':')?.0, 16).ok()?;
        (*state == ESTABLISHED && PORTS.contains(&port)).then(|| ((*local).to_owned(), bytes))
    });
    lines.collect()
}

/// A connection that both ends have agreed to: an attempt to make one holds no request.
const ESTABLISHED: &str = "01";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_bytes_to_the_api_server_on_established_connections_count() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt\n\
            0: 0501:A001 0113C6:01BB 01 000001F4:00000000 01:00000014 00000001 65532 0 1\n\
            1: 0501:A002 0113C6:1538 01 00000010:00000000 00:00000000 00000000 65532 0 2\n\
            2: 0501:A003 0113C6:01BB 02 00000001:00000000 00:00000000 00000000 65532 0 3\n\
            3: 0501:A004 0113C6:01BB 01 00000020:00000000 00:00000000 00000000 65532 0 4\n";
        assert_eq!(Unsent(parse(table)).connections(), 2);
        assert_eq!(Unsent(parse("  sl  local_address rem_address   st\n")).connections(), 0);
    }
}
