import { describe, expect, it } from "vitest";
import { childAt, readXml } from "./xml.ts";

describe("the reader of nvidia-smi's XML", () => {
  it("reads elements, attributes and text, whatever stands around them", () => {
    const text = `WARNING: infoROM is corrupted\n<?xml version="1.0" ?>\n<!DOCTYPE a SYSTEM "a.dtd">
      <a><b id="0000:01"> x &lt;&amp;&gt; y </b><c/><d>\n None \n</d></a> trailing`;
    const root = readXml(text, "a");
    expect(root?.children.map(({ name }) => name)).toEqual(["b", "c", "d"]);
    expect(root?.children[0]?.attributes.get("id")).toBe("0000:01");
    expect(root && childAt(root, "b")?.text).toBe("x <&> y");
    expect(root && childAt(root, "d")?.text).toBe("None");
    expect(root && childAt(root, "d", "e")).toBeUndefined();
  });

  it.each([
    ["cut off", "<a><b>1</b>"],
    ["closed by another name", "<a><b>1</c></a>"],
    ["with a tag that is none", "<a><1></1></a>"],
    ["with a document type inside", "<a><!ENTITY x 'y'></a>"],
    ["too deep", `<a>${"<b>".repeat(40)}${"</b>".repeat(40)}</a>`],
    ["empty", ""],
    ["something else", "No devices were found"],
    ["too long", `<a>${"x".repeat(9 * 1024 * 1024)}</a>`],
  ])("refuses what is %s", (_what, text) => {
    expect(readXml(text, "a")).toBeUndefined();
  });

  it("expands nothing that a document defines", () => {
    const text = `<!DOCTYPE a [<!ENTITY x "expanded">]><a>&x;</a>`;
    expect(readXml(text, "a")?.text).toBe("&x;");
  });
});
