"""A check as JUnit XML, which CI systems read: a suite for each model, a case for each line of its verdict."""

from xml.etree.ElementTree import Element, SubElement, indent, tostring

from mobilebert_export.check.run import CheckReport


def to_junit(report: CheckReport) -> bytes:
    """The XML document."""
    root = Element("testsuites", name="mobilebert-export check")
    total = failed = 0
    for checked in report.models:
        lines = checked.verdict.lines
        bad = [line for line in lines if not line.passed]
        total, failed = total + len(lines), failed + len(bad)
        name = _allowed(str(checked.measured.model))
        suite = SubElement(root, "testsuite", name=name, tests=str(len(lines)), failures=str(len(bad)), errors="0")
        for line in lines:
            case = SubElement(suite, "testcase", classname=name, name=_allowed(f"{line.key} {line.subject}"))
            if not line.passed:
                SubElement(case, "failure", message=_allowed(str(line)))
    root.set("tests", str(total))
    root.set("failures", str(failed))
    indent(root)
    return bytes(tostring(root, encoding="utf-8", xml_declaration=True))


def _allowed(text: str) -> str:
    """What XML 1.0 may hold (section 2.2): names come from files of strangers."""
    return "".join(
        c if c in "\t\n\r" or " " <= c <= "\ud7ff" or "\ue000" <= c <= "\ufffd" or c > "\uffff" else "\ufffd"
        for c in text
    )
