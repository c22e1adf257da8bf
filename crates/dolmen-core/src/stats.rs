//! What a repository holds, in numbers.
