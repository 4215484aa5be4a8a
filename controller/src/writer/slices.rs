//! Writes to EndpointSlices. A slice is made empty and filled by a patch, which is refused unless the slice is the one that was looked at.

use std::collections::BTreeMap;

use k8s_openapi::{
    api::discovery::v1::EndpointSlice,
    apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference},
};
use kube::api::PostParams;
use serde_json::{Value, json};
use shared::names;

use super::{NotSent, Writer, Written, precondition, requests};
use crate::{
    decide::{Endpoint, Family, Listing, Port, SliceKey},
    election::WritePermit,
};

/// Which slice of which route is to be made.
#[derive(Debug, Clone, Copy)]
pub struct NewSlice<'a> {
    /// The namespace of the route, the Service and the slice.
    pub namespace: &'a str,
    /// The route's name.
    pub route: &'a str,
    /// The slice's name.
    pub name: &'a str,
    /// The Service's name.
    pub service: &'a str,
    /// The Service's uid: with the Service the slice goes.
    pub service_uid: &'a str,
    /// The addresses that it can hold.
    pub family: Family,
}

/// Which slice of which route is to be written.
#[derive(Debug, Clone, Copy)]
pub struct OldSlice<'a> {
    /// The namespace of the route, the Service and the slice.
    pub namespace: &'a str,
    /// The route's name.
    pub route: &'a str,
    /// The slice.
    pub slice: &'a SliceKey,
    /// What it is expected to be.
    pub resource_version: &'a str,
}

impl Writer {
    /// Makes a slice without endpoints. Whoever makes it late has changed nothing that leads anywhere.
    pub async fn create_slice(
        &self,
        permit: WritePermit<'_>,
        new: NewSlice<'_>,
    ) -> Result<Written<EndpointSlice>, NotSent> {
        let stamp = self.stamp(&permit)?;
        let annotations = [(names::STAMP, stamp.to_string()), (names::ROUTE, new.route.to_owned())];
        let slice = EndpointSlice {
            address_type: new.family.as_str().to_owned(),
            endpoints: Some(Vec::new()),
            metadata: ObjectMeta {
                name: Some(new.name.to_owned()),
                namespace: Some(new.namespace.to_owned()),
                labels: Some(labels(new.service)),
                annotations: Some(annotations.map(|(key, value)| (key.to_owned(), value)).into()),
                owner_references: Some(vec![OwnerReference {
                    api_version: "v1".to_owned(),
                    kind: "Service".to_owned(),
                    name: new.service.to_owned(),
                    uid: new.service_uid.to_owned(),
                    ..OwnerReference::default()
                }]),
                ..ObjectMeta::default()
            },
            ports: None,
        };
        let params = PostParams {
            field_manager: Some(names::FIELD_MANAGER.to_owned()),
            ..PostParams::default()
        };
        let body = json!(slice).to_string().into_bytes();
        let request = requests::<EndpointSlice>(new.namespace).create(&params, body);
        self.send(permit, request).await
    }

    /// Stamps a slice and changes nothing else.
    pub async fn stamp_slice(
        &self,
        permit: WritePermit<'_>,
        old: OldSlice<'_>,
    ) -> Result<Written<EndpointSlice>, NotSent> {
        let stamp = self.stamp(&permit)?;
        let metadata = precondition(&old.slice.uid, old.resource_version, &stamp);
        let body = json!({ "metadata": metadata });
        self.patch(permit, old.namespace, &old.slice.name, body).await
    }

    /// Stamps a slice and changes whom it lists, all in one write.
    pub async fn endpoints(
        &self,
        permit: WritePermit<'_>,
        old: OldSlice<'_>,
        service: &str,
        listing: &Listing,
    ) -> Result<Written<EndpointSlice>, NotSent> {
        let stamp = self.stamp(&permit)?;
        let mut metadata = precondition(&old.slice.uid, old.resource_version, &stamp);
        metadata["labels"] = json!(labels(service));
        metadata["annotations"][names::ROUTE] = json!(old.route);
        let endpoint = |endpoint: &Endpoint| endpoint_of(endpoint, old.namespace);
        let body = json!({
            "metadata": metadata,
            "endpoints": listing.endpoints.iter().map(endpoint).collect::<Vec<_>>(),
            "ports": listing.ports.iter().map(port_of).collect::<Vec<_>>(),
        });
        self.patch(permit, old.namespace, &old.slice.name, body).await
    }
}

fn labels(service: &str) -> BTreeMap<String, String> {
    let labels = [(names::SLICE_SERVICE, service), (names::SLICE_MANAGED_BY, names::GROUP)];
    labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

fn endpoint_of(endpoint: &Endpoint, namespace: &str) -> Value {
    let Endpoint {
        pod,
        address,
        node,
        draining,
    } = endpoint;
    let mut value = json!({
        "addresses": [address],
        "conditions": { "ready": !draining, "serving": true, "terminating": draining },
        "targetRef": { "kind": "Pod", "namespace": namespace, "name": pod.name, "uid": pod.uid },
    });
    if let Some(node) = node {
        value["nodeName"] = json!(node);
    }
    value
}

fn port_of(port: &Port) -> Value {
    let Port {
        name,
        number,
        protocol,
        app_protocol,
    } = port;
    let mut value = json!({ "name": name, "port": number, "protocol": protocol });
    if let Some(app_protocol) = app_protocol {
        value["appProtocol"] = json!(app_protocol);
    }
    value
}
