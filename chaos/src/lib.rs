//! The black-box judge.
