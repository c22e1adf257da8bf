//! Backup, restore and every other verb on a repository
