//! URIs and addresses as views over their bytes.
