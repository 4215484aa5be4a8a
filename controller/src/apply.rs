//! Carries one action out. It makes no choice: what to do was decided, and what comes of it is only reported.

use std::sync::Arc;

use k8s_openapi::{
    api::{core::v1::Pod, discovery::v1::EndpointSlice},
    apimachinery::pkg::apis::meta::v1::Time,
};
use shared::{
    ledger::{Mark, PostgresLedger, PostgresLedgerSpec, SWITCHES_KEPT, Switch},
    role::Role,
    route::PostgresRoute,
    term::Term,
};

use crate::{
    decide::{Action, Family, Listing, PodKey, SliceKey, SwitchFrom},
    election::WritePermit,
    writer::{LabelWrite, NewSlice, NotSent, OldSlice, Writer, Written},
};

/// Where the actions of one turn take place.
#[derive(Debug, Clone)]
pub struct Place {
    /// The route as it was looked at.
    pub route: Arc<PostgresRoute>,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What the ledger held.
    pub ledger: Option<PostgresLedgerSpec>,
    /// The wall clock's time of the turn, for people.
    pub now: Time,
    /// What is known of the switch that is under way, if one is, for people.
    pub switch: SwitchTold,
}

/// What is known of a switch while it is under way.
#[derive(Debug, Clone, Default)]
pub struct SwitchTold {
    /// Why it is: the word as metrics show it.
    pub cause: Option<&'static str>,
    /// The trace that tells of it.
    pub trace: Option<String>,
}

/// What became of an action.
#[derive(Debug)]
pub enum Effect {
    /// A pod was written to.
    Pod {
        /// The pod.
        pod: PodKey,
        /// The label that was written, if one was.
        label: LabelWrite,
        /// What became of it.
        written: Written<Pod>,
    },
    /// The ledger was written to.
    Ledger {
        /// Whether the mark was among it.
        mark: bool,
        /// What became of it.
        written: Written<PostgresLedger>,
    },
    /// An EndpointSlice was made or written to.
    Slice {
        /// Its name.
        name: String,
        /// Its uid, if it was there before.
        uid: Option<String>,
        /// What became of it.
        written: Written<EndpointSlice>,
    },
    /// The route was written to.
    Route(Written<PostgresRoute>),
    /// Somebody with a higher claim has written: leading is over.
    Outranked(Term),
}

/// Carries one action out, under a permit that was just given.
pub async fn apply(
    writer: &Writer,
    permit: WritePermit<'_>,
    place: &Place,
    action: &Action,
) -> Result<Effect, NotSent> {
    let label = |role: Option<Role>| role.map_or(LabelWrite::Remove, LabelWrite::Set);
    match action {
        Action::Stamp { pod, resource_version } => {
            write_pod(writer, permit, place, pod, resource_version, LabelWrite::Keep).await
        }
        Action::Withdraw {
            pod,
            resource_version,
            to,
        }
        | Action::Relabel {
            pod,
            resource_version,
            to,
            ..
        } => write_pod(writer, permit, place, pod, resource_version, label(*to)).await,
        Action::Grant { pod, resource_version } => {
            write_pod(
                writer,
                permit,
                place,
                pod,
                resource_version,
                LabelWrite::Set(Role::Primary),
            )
            .await
        }
        Action::StampLedger { uid, resource_version } => {
            let expected = crate::decide::LedgerExpected {
                uid: uid.clone(),
                resource_version: resource_version.clone(),
            };
            let ledger = PostgresLedgerSpec {
                term_floor: permit.term(),
                ..completed(place)
            };
            let written = writer
                .ledger(permit, &place.namespace, &place.name, Some(&expected), ledger)
                .await?;
            Ok(Effect::Ledger { mark: false, written })
        }
        Action::SetMark { expected, mark, switch } => {
            let ledger = marked(place, permit.term(), mark, switch.as_ref());
            let written = writer
                .ledger(permit, &place.namespace, &place.name, expected.as_ref(), ledger)
                .await?;
            Ok(Effect::Ledger { mark: true, written })
        }
        Action::CreateSlice {
            slice,
            service,
            service_uid,
            family,
        } => create_slice(writer, permit, place, (slice, service, service_uid, *family)).await,
        Action::StampSlice {
            slice,
            resource_version,
        } => write_slice(writer, permit, place, (slice, resource_version), None).await,
        Action::SetEndpoints {
            slice,
            resource_version,
            service,
            to,
        } => write_slice(writer, permit, place, (slice, resource_version), Some((service, to))).await,
        Action::ClearAccept => Ok(Effect::Route(writer.accepted(permit, &place.route).await?)),
        Action::StepDown { met } => Ok(Effect::Outranked(*met)),
    }
}

async fn write_pod(
    writer: &Writer,
    permit: WritePermit<'_>,
    place: &Place,
    pod: &PodKey,
    resource_version: &str,
    label: LabelWrite,
) -> Result<Effect, NotSent> {
    let role_label = &place.route.spec.role_label;
    let written = writer
        .pod(permit, &place.namespace, pod, resource_version, role_label, label)
        .await?;
    Ok(Effect::Pod {
        pod: pod.clone(),
        label,
        written,
    })
}

/// What the ledger held, with what the status has learnt meanwhile of the last switch: how long its parts took is known only when it is
/// over, and is not worth a write of its own.
fn completed(place: &Place) -> PostgresLedgerSpec {
    let mut ledger = place.ledger.clone().unwrap_or_default();
    let told = place
        .route
        .status
        .as_ref()
        .and_then(|status| status.last_switch.as_ref());
    if let Some(told) = told {
        ledger.switches = told.complete(ledger.switches);
    }
    ledger
}

async fn create_slice(
    writer: &Writer,
    permit: WritePermit<'_>,
    place: &Place,
    (name, service, service_uid, family): (&str, &str, &str, Family),
) -> Result<Effect, NotSent> {
    let new = NewSlice {
        namespace: &place.namespace,
        route: &place.name,
        name,
        service,
        service_uid,
        family,
    };
    Ok(Effect::Slice {
        name: name.to_owned(),
        uid: None,
        written: writer.create_slice(permit, new).await?,
    })
}

/// Stamps a slice, and changes what it lists if anything is to be listed.
async fn write_slice(
    writer: &Writer,
    permit: WritePermit<'_>,
    place: &Place,
    (slice, resource_version): (&SliceKey, &str),
    change: Option<(&str, &Listing)>,
) -> Result<Effect, NotSent> {
    let old = OldSlice {
        namespace: &place.namespace,
        route: &place.name,
        slice,
        resource_version,
    };
    let written = match change {
        None => writer.stamp_slice(permit, old).await?,
        Some((service, to)) => writer.endpoints(permit, old, service, to).await?,
    };
    Ok(Effect::Slice {
        name: slice.name.clone(),
        uid: Some(slice.uid.clone()),
        written,
    })
}

/// The ledger with a new mark, and the switch that it stands for.
fn marked(place: &Place, term: Term, mark: &Mark, switch: Option<&SwitchFrom>) -> PostgresLedgerSpec {
    let mut ledger = completed(place);
    if let Some(SwitchFrom { pod: from }) = switch {
        let (at, to) = (place.now.clone(), mark.pod.clone());
        ledger.switches.insert(
            0,
            Switch {
                at,
                from: from.clone(),
                to,
                timeline: mark.timeline,
                cause: place.switch.cause.map(str::to_owned),
                trace: place.switch.trace.clone(),
                phases: None,
            },
        );
        ledger.switches.truncate(SWITCHES_KEPT);
    }
    ledger.mark = Some(mark.clone());
    ledger.term_floor = term;
    ledger
}
