use super::matches;

#[test]
fn filters_follow_the_standard() {
    for (filter, topic, fits) in [
        ("a/b", "a/b", true),
        ("a/+", "a/b", true),
        ("a/#", "a/b/c", true),
        ("a/#", "a", true),
        ("#", "a", true),
        ("a/+", "a/b/c", false),
        ("a/b/", "a/b", false),
        ("a/b/", "a/b/", true),
        ("+/b", "a/c", false),
        ("#", "$SYS/load", false),
        ("$SYS/#", "$SYS/load", true),
    ] {
        assert_eq!(matches(filter, topic), fits, "{filter} {topic}");
    }
}
