//! Single scenes, each with one point.
