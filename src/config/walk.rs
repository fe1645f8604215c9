//! The files and folders under `routing/`, each once: links may lead anywhere, but not back, nor where another name leads.

use std::hash::RandomState;
use std::path::{Path, PathBuf};

use hashbrown::HashMap;

/// What has been found so far.
#[derive(Default)]
pub(super) struct Walk {
    pub files: Vec<PathBuf>,
    /// Those that were gone into.
    pub folders: Vec<PathBuf>,
    /// Where the folders really are that it is in, the outermost first.
    within: Vec<PathBuf>,
    /// By where they really are.
    known: HashMap<PathBuf, Known, RandomState>,
}

struct Known {
    /// By which it is read.
    name: PathBuf,
    is_link: bool,
}

/// Why a name is not followed.
pub(super) struct Refused {
    pub name: PathBuf,
    pub what: String,
    pub remedy: &'static str,
}

impl Walk {
    /// Goes into a folder; [`Walk::leave`] comes out again.
    pub fn enter(&mut self, folder: &Path) -> Result<(), Refused> {
        let real = real(folder);
        // One that holds a folder that it is in holds that link too, and so on without end.
        if self.within.iter().any(|above| above.starts_with(&real)) {
            return Err(Refused {
                name: folder.to_owned(),
                what: format!("the link leads back to {}, in which it lies itself", real.display()),
                remedy: "remove the link, or have it lead to a folder outside",
            });
        }
        self.know(folder, &real)?;
        self.folders.push(folder.to_owned());
        self.within.push(real);
        Ok(())
    }

    pub fn leave(&mut self) {
        self.within.pop();
    }

    pub fn add(&mut self, file: PathBuf) -> Result<(), Refused> {
        self.know(&file, &real(&file))?;
        self.files.push(file);
        Ok(())
    }

    /// That this is read by that name.
    fn know(&mut self, name: &Path, real: &Path) -> Result<(), Refused> {
        let is_link = name.is_symlink();
        let Some(first) = self.known.get(real) else {
            self.known.insert(real.to_owned(), Known { name: name.to_owned(), is_link });
            return Ok(());
        };
        // Of the two the one is told that nobody will miss.
        let (told, other) =
            if first.is_link && !is_link { (&*first.name, name) } else { (name, &*first.name) };
        Err(Refused {
            name: told.to_owned(),
            what: format!("it is {} by another name: what it says would be there twice", other.display()),
            remedy: "remove one of the two",
        })
    }
}

/// What is not there is where it is named: whoever opens it is told so.
fn real(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}
