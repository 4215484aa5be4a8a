//! What the cluster is built from: pinned Go modules, their programs, and the flags. Pure data and its hash.
//!
//! The `go.mod` and `go.sum` files are part of this program, so what is built never depends on where it is run.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

use super::build::Part;

/// Bakes the release into the Kubernetes programs, which otherwise call themselves v0.0.0; drops symbol tables, which halves the
/// link time.
const LINKER_FLAGS: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.36.3 \
    -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=36";

/// One Go module with a `go.mod` of ours that pins all it needs.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) name: &'static str,
    /// Files of the module's directory: name and content.
    pub(crate) files: &'static [(&'static str, &'static str)],
    /// Build tags, separated by spaces.
    tags: &'static str,
    pub(crate) programs: &'static [Program],
}

/// One program of a module, or what stands for one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Program {
    pub(crate) name: &'static str,
    /// The Go package of its `main`.
    pub(crate) package: &'static str,
    /// What is made of the package.
    pub(crate) made: Made,
    /// Seconds to build it on two cores when nothing is cached, in the order below; only for the progress line.
    pub(crate) cold_seconds: u32,
    /// The smallest part that holds it.
    pub(crate) part: Part,
}

/// What is made of a Go package.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Made {
    /// A program.
    Program,
    /// A folder of the custom resource definitions that its types describe.
    CustomResources,
}

const fn program(name: &'static str, package: &'static str, cold_seconds: u32) -> Program {
    Program {
        name,
        package,
        made: Made::Program,
        cold_seconds,
        part: Part::All,
    }
}

const fn control_plane(name: &'static str, package: &'static str, cold_seconds: u32) -> Program {
    Program {
        name,
        package,
        made: Made::Program,
        cold_seconds,
        part: Part::ControlPlane,
    }
}

const fn jaeger(name: &'static str, package: &'static str, cold_seconds: u32) -> Program {
    Program {
        name,
        package,
        made: Made::Program,
        cold_seconds,
        part: Part::Jaeger,
    }
}

macro_rules! pinned {
    ($module:literal $(, $more:literal)*) => {
        &[
            ("go.mod", include_str!(concat!("../../modules/", $module, "/go.mod"))),
            $(($more, include_str!(concat!("../../modules/", $module, "/", $more))),)*
        ]
    };
}

/// The folder of Chaos Mesh's custom resource definitions, among the programs.
pub const CHAOS_MESH_CRDS: &str = "chaos-mesh-crds";

/// Every module, in the order in which it is built.
pub(crate) const MODULES: &[Module] = &[
    Module {
        name: "etcd",
        files: pinned!("etcd", "go.sum"),
        tags: "",
        programs: &[control_plane("etcd", "go.etcd.io/etcd/server/v3", 24)],
    },
    Module {
        name: "kubernetes",
        files: pinned!("kubernetes", "go.sum"),
        tags: "",
        programs: &[
            control_plane("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver", 173),
            control_plane("kubectl", "k8s.io/kubernetes/cmd/kubectl", 16),
            program(
                "kube-controller-manager",
                "k8s.io/kubernetes/cmd/kube-controller-manager",
                45,
            ),
            program("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler", 16),
            program("kubelet", "k8s.io/kubernetes/cmd/kubelet", 16),
            program("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy", 10),
        ],
    },
    Module {
        name: "containerd",
        files: pinned!("containerd", "go.sum"),
        // Snapshotters that need C libraries and that no node uses.
        tags: "no_btrfs no_zfs no_devmapper",
        programs: &[
            program("containerd", "github.com/containerd/containerd/v2/cmd/containerd", 41),
            program(
                "containerd-shim-runc-v2",
                "github.com/containerd/containerd/v2/cmd/containerd-shim-runc-v2",
                5,
            ),
            program("ctr", "github.com/containerd/containerd/v2/cmd/ctr", 5),
        ],
    },
    Module {
        name: "helm",
        files: pinned!("helm", "go.sum"),
        tags: "",
        programs: &[control_plane("helm", "helm.sh/helm/v4/cmd/helm", 91)],
    },
    Module {
        name: "coredns",
        files: pinned!("coredns", "go.sum"),
        tags: "",
        programs: &[program("coredns", "github.com/coredns/coredns", 85)],
    },
    Module {
        name: "chaos-mesh",
        files: pinned!("chaos-mesh", "go.sum", "doc.go"),
        tags: "",
        programs: &[Program {
            name: CHAOS_MESH_CRDS,
            package: "github.com/chaos-mesh/chaos-mesh/api/v1alpha1",
            made: Made::CustomResources,
            cold_seconds: 20,
            part: Part::ControlPlane,
        }],
    },
    Module {
        name: "pause",
        files: pinned!("pause", "main.go"),
        tags: "",
        programs: &[program("pause", ".", 2)],
    },
    Module {
        name: "jaeger",
        // The last release of its first line whose modules can be resolved from outside its own tree.
        files: pinned!("jaeger", "go.sum"),
        tags: "",
        programs: &[jaeger("jaeger", "github.com/jaegertracing/jaeger/cmd/all-in-one", 84)],
    },
];

impl Module {
    /// The arguments of `go` that build `program` into `output`.
    pub(crate) fn build_args(&self, program: &Program, output: &str) -> Vec<String> {
        if program.made == Made::CustomResources {
            let paths = format!("paths={}", program.package);
            let directory = format!("output:crd:dir={output}");
            return ["tool", "controller-gen", "crd", &paths, &directory]
                .map(str::to_owned)
                .to_vec();
        }
        let mut args: Vec<String> = ["build", "-trimpath", "-buildvcs=false", "-ldflags", LINKER_FLAGS]
            .map(str::to_owned)
            .to_vec();
        if !self.tags.is_empty() {
            args.extend(["-tags".to_owned(), self.tags.to_owned()]);
        }
        args.extend(["-o".to_owned(), output.to_owned(), program.package.to_owned()]);
        args
    }

    /// Names this version of the module's programs: the sources, the flags and the compiler, hashed.
    pub(crate) fn key(&self, go_version: &str) -> String {
        let mut hash = Sha256::new();
        let mut feed = |part: &str| {
            // The length first, so that two different lists of parts never read the same.
            hash.update((part.len() as u64).to_le_bytes());
            hash.update(part.as_bytes());
        };
        feed(go_version);
        feed(LINKER_FLAGS);
        feed(self.tags);
        for (name, content) in self.files {
            feed(name);
            feed(content);
        }
        hex(&hash.finalize()[..KEY_BYTES])
    }
}

/// 64 bits tell the handful of versions in one cache apart.
const KEY_BYTES: usize = 8;

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut digits, byte| {
        // Writing to a String cannot fail.
        write!(digits, "{byte:02x}").ok();
        digits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_compiler_or_module_has_another_key() {
        let [etcd, kubernetes] = [&MODULES[0], &MODULES[1]];
        assert_ne!(etcd.key("go1.26.0"), etcd.key("go1.26.1"));
        assert_ne!(etcd.key("go1.26.0"), kubernetes.key("go1.26.0"));
        assert_eq!(etcd.key("go1.26.0").len(), KEY_BYTES * 2);
    }

    #[test]
    fn no_two_programs_share_a_name() {
        let mut names: Vec<_> = MODULES
            .iter()
            .flat_map(|module| module.programs)
            .map(|program| program.name)
            .collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
    }

    #[test]
    fn tags_reach_the_compiler_of_the_module_that_has_them() {
        let tagged = |name: &str| {
            let module = MODULES.iter().find(|module| module.name == name).expect("a module");
            module
                .build_args(&module.programs[0], "out")
                .iter()
                .any(|arg| arg == "-tags")
        };
        assert!(tagged("containerd") && !tagged("etcd"));
    }
}
