//! Reads the few instructions of a Containerfile that this project's images use, so that the archives which are written without any
//! image tool hold what a builder would make of the same file.
//!
//! The stage before the last lays out a root with `/images/lay-out /images/NAME …`; the last one copies it and adds to it.

use super::image::ImageConfig;

/// What an image is made of.
#[derive(Debug, Clone)]
pub(crate) struct Recipe {
    /// The folder of `deploy/images` whose packages its root is laid out from.
    pub(crate) root: String,
    /// What is added to the root.
    pub(crate) copies: Vec<Copy>,
    /// How it is run.
    pub(crate) config: ImageConfig,
}

/// One file that is added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Copy {
    /// Relative to the project's folder.
    pub(crate) from: String,
    /// In the image, without the leading slash.
    pub(crate) to: String,
    pub(crate) mode: u32,
}

const LAY_OUT: &str = "/images/lay-out /images/";
const ROOT_COPY: &str = "COPY --from=root /image/ /";
/// A copied file's mode where none is given.
const DEFAULT_MODE: u32 = 0o644;

/// Reads a Containerfile. The error says which line is not understood: only a builder could carry it out, and the archive would differ.
pub(crate) fn parse(text: &str) -> Result<Recipe, String> {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .collect();
    let last = lines
        .iter()
        .rposition(|line| line.starts_with("FROM "))
        .ok_or("there is no FROM")?;
    if lines[last] != "FROM scratch" {
        return Err(format!(
            "the last stage is `{}`; it must be `FROM scratch`",
            lines[last]
        ));
    }
    let root = lines[..last]
        .iter()
        .find_map(|line| line.split_once(LAY_OUT))
        .and_then(|(_, rest)| rest.split_whitespace().next())
        .ok_or_else(|| format!("no stage before the last runs `{LAY_OUT}NAME`"))?;
    let mut recipe = Recipe {
        root: root.to_owned(),
        copies: Vec::new(),
        config: ImageConfig::default(),
    };
    let mut has_root = false;
    for line in &lines[last + 1..] {
        if *line == ROOT_COPY {
            has_root = true;
        } else {
            add(&mut recipe, line).ok_or_else(|| format!("`{line}` is not understood"))?;
        }
    }
    if has_root {
        Ok(recipe)
    } else {
        Err(format!("the last stage has no `{ROOT_COPY}`"))
    }
}

fn add(recipe: &mut Recipe, line: &str) -> Option<()> {
    let (instruction, rest) = line.split_once(' ')?;
    match instruction {
        "COPY" => recipe.copies.push(copy(rest)?),
        "ENV" if rest.contains('=') && !rest.contains([' ', '"', '\\', '$']) => recipe.config.env.push(rest.to_owned()),
        "USER" if !rest.contains([' ', '$']) => rest.clone_into(&mut recipe.config.user),
        "ENTRYPOINT" => recipe.config.entrypoint = serde_json::from_str(rest).ok()?,
        _ => return None,
    }
    Some(())
}

fn copy(rest: &str) -> Option<Copy> {
    let (mode, rest) = match rest.strip_prefix("--chmod=") {
        Some(rest) => {
            let (mode, rest) = rest.split_once(' ')?;
            (u32::from_str_radix(mode, 8).ok()?, rest)
        }
        None => (DEFAULT_MODE, rest),
    };
    let (from, to) = rest.split_once(' ')?;
    let to = to.strip_prefix('/')?;
    let is_plain = |path: &str| !path.contains([' ', '*', '$']) && !path.ends_with('/') && !path.starts_with("--");
    (is_plain(from) && is_plain(to)).then(|| Copy {
        from: from.to_owned(),
        to: to.to_owned(),
        mode,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: &str = "FROM debian AS root\nRUN /images/lay-out /images/controller /root.tar\n# why\nFROM scratch\nCOPY --from=root /image/ /\n\
        COPY --chmod=0755 target/release/pgsteer /usr/local/bin/pgsteer\nCOPY a /etc/a\nENV PATH=/bin\nUSER 1:2\nENTRYPOINT [\"/p\", \"q\"]\n";

    #[test]
    fn what_the_last_stage_adds_is_read() {
        let recipe = parse(WHOLE).expect("understood");
        assert_eq!(recipe.root, "controller");
        let copied = |from: &str, to: &str, mode| Copy {
            from: from.to_owned(),
            to: to.to_owned(),
            mode,
        };
        assert_eq!(
            recipe.copies,
            [
                copied("target/release/pgsteer", "usr/local/bin/pgsteer", 0o755),
                copied("a", "etc/a", 0o644)
            ]
        );
        assert_eq!(recipe.config.entrypoint, ["/p", "q"]);
        assert_eq!(
            (recipe.config.user.as_str(), recipe.config.env.as_slice()),
            ("1:2", ["PATH=/bin".to_owned()].as_slice())
        );
    }

    #[test]
    fn a_line_that_only_a_builder_understands_is_refused_by_name() {
        for line in [
            "RUN make",
            "COPY --chown=1 a /b",
            "COPY a b",
            "COPY a /b/",
            "COPY *.sh /b",
            "ENV A $B",
            "ENTRYPOINT /p",
            "EXPOSE 1",
        ] {
            let error = parse(&format!("{WHOLE}{line}\n")).expect_err("refused");
            assert!(error.contains(line), "{error}");
        }
    }

    #[test]
    fn a_last_stage_without_the_laid_out_root_is_refused() {
        assert!(parse(&WHOLE.replace("COPY --from=root /image/ /\n", "")).is_err());
        assert!(parse(&WHOLE.replace("FROM scratch", "FROM debian")).is_err());
        assert!(parse(&WHOLE.replace("/images/lay-out", "/images/other")).is_err());
    }
}
