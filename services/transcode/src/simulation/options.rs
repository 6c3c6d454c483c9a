//! Arguments: `seeds=1000 first=1`, `seed=7`, `size=full`, `without=grace`.

use super::guards::Guard;

/// Size of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Size {
    /// Tens of workers, hundreds of tasks.
    Small,
    /// A hundred workers, thousands of tasks.
    Large,
    /// 1,000 workers, 100,000 tasks.
    Full,
}

/// What is simulated.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// Number of seeds.
    pub seeds: u64,
    /// The first seed.
    pub first: u64,
    /// One seed, whose timeline is printed; the two above have then no effect.
    pub seed: Option<u64>,
    /// Size of all scenarios; none to draw it.
    pub size: Option<Size>,
    /// A guard that is taken out.
    pub without: Option<Guard>,
    /// Whether a job may fail after as many lost attempts without progress as the product allows.
    pub lost_attempts_may_fail: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self { seeds: 100, first: 1, seed: None, size: None, without: None, lost_attempts_may_fail: false }
    }
}

impl Options {
    /// Parses arguments of the form `name=value`.
    ///
    /// # Errors
    /// An argument is unknown or has an invalid value; the message says which.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Self, String> {
        let mut options = Self::default();
        for argument in arguments {
            let invalid = || {
                let guards = Guard::ALL.map(Guard::name).join("|");
                format!(
                    "{argument:?} is not one of seeds=N, first=N, seed=N, size=small|large|full, \
                     without={guards}, \
                     lost-attempts-may-fail=true|false"
                )
            };
            let (name, value) = argument.split_once('=').ok_or_else(invalid)?;
            let number = || value.parse::<u64>().map_err(|_| invalid());
            match name {
                "seeds" => options.seeds = number()?,
                "first" => options.first = number()?,
                "seed" => options.seed = Some(number()?),
                "size" => {
                    let size = match value {
                        "small" => Size::Small,
                        "large" => Size::Large,
                        "full" => Size::Full,
                        _ => return Err(invalid()),
                    };
                    options.size = Some(size);
                }
                "without" => {
                    let guard = Guard::ALL.into_iter().find(|guard| guard.name() == value);
                    options.without = Some(guard.ok_or_else(invalid)?);
                }
                "lost-attempts-may-fail" => {
                    options.lost_attempts_may_fail = value.parse().map_err(|_| invalid())?;
                }
                _ => return Err(invalid()),
            }
        }
        Ok(options)
    }
}
