//! Which label the textbook controller wants, and how each sabotage changes that. Pure.

use super::Sabotage;
use crate::install::{ORPHAN, PRIMARY, REPLICA};

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) in_recovery: bool,
    pub(super) system: String,
    /// Of a server that takes writes.
    pub(super) timeline: u32,
}

/// The label that a pod should have, by what its server said (nothing: no answer), the ledger's mark, and the label that it has.
pub(super) fn wanted<'a>(
    asked: Option<&Asked>,
    mark: Option<&(String, u32)>,
    label: Option<&'a str>,
    sabotage: Option<Sabotage>,
) -> Option<&'a str> {
    if sabotage == Some(Sabotage::NeverWithdraw) && label == Some(PRIMARY) {
        return label;
    }
    let asked = asked?;
    if asked.in_recovery {
        let lies = sabotage == Some(Sabotage::Both);
        return Some(if lies { PRIMARY } else { REPLICA });
    }
    let is_below = mark.is_some_and(|(system, timeline)| asked.system != *system || asked.timeline < *timeline);
    let is_orphan = is_below && sabotage != Some(Sabotage::IgnoreMark);
    Some(if is_orphan { ORPHAN } else { PRIMARY })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_sabotage_changes_one_answer_and_no_other() {
        let said = |in_recovery, timeline| {
            Some(Asked {
                in_recovery,
                system: "7".to_owned(),
                timeline,
            })
        };
        let mark = ("7".to_owned(), 2);
        let cases = [
            ("takes writes", said(false, 2), Some(REPLICA), Some(PRIMARY), None),
            (
                "is in recovery",
                said(true, 0),
                None,
                Some(REPLICA),
                Some((Sabotage::Both, PRIMARY)),
            ),
            (
                "takes writes below the mark",
                said(false, 1),
                None,
                Some(ORPHAN),
                Some((Sabotage::IgnoreMark, PRIMARY)),
            ),
            ("does not answer", None, Some(REPLICA), None, None),
            (
                "was primary and does not answer",
                None,
                Some(PRIMARY),
                None,
                Some((Sabotage::NeverWithdraw, PRIMARY)),
            ),
        ];
        for (name, asked, label, honest, lie) in cases {
            let role = |sabotage| wanted(asked.as_ref(), Some(&mark), label, sabotage);
            assert_eq!(role(None), honest, "{name}");
            for sabotage in [
                Sabotage::Both,
                Sabotage::NeverWithdraw,
                Sabotage::IgnoreMark,
                Sabotage::LateWrite,
            ] {
                let expected = match lie {
                    Some((lying, role)) if lying == sabotage => Some(role),
                    _ => honest,
                };
                assert_eq!(role(Some(sabotage)), expected, "{name}, {sabotage:?}");
            }
        }
    }
}
