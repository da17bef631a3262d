"""Words for one thing that pydantic refuses in a file that somebody wrote."""

from __future__ import annotations

from pydantic_core import ErrorDetails


def refusal(finding: ErrorDetails) -> str:  # noqa: PLR0911  # one answer a kind of mistake
    """What is wrong and what would be right, in words that know nothing of the validator's own terms."""
    said, context = finding["msg"].removeprefix("Value error, "), finding.get("ctx", {})
    match finding["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return f"unknown field (got {finding['input']!r:.80})"
        case "union_tag_invalid":
            known = context["expected_tags"].replace("'", "")
            return f"unknown {context['discriminator'].strip(chr(39))} {context['tag']!r}; known: {known}"
        case "union_tag_not_found":
            return f"names no {context['discriminator'].strip(chr(39))}"
        case "too_short":
            return f"too few entries: {context['actual_length']}, at least {context['min_length']} are needed"
        case "too_long":
            return f"too many entries: {context['actual_length']}, at most {context['max_length']} are possible"
        case "value_error":
            return said
        case _:
            return f"{said} (got {finding['input']!r:.80})"
