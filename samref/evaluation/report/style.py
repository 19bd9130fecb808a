"""How the report's page looks: one column on a telephone, light or dark as the reader's system is."""

from __future__ import annotations

__all__ = ["STYLE"]

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#16191d;--soft:#5a626c;--line:#d5d9de;--card:#f5f6f8}
@media (prefers-color-scheme:dark){:root{--paper:#14171a;--ink:#e8eaed;--soft:#a3abb5;--line:#363c43;--card:#1d2125}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:16px/1.5 system-ui,sans-serif}
main{max-width:70rem;margin:0 auto;padding:1rem}
h1{font-size:1.5rem;line-height:1.25;margin:.5rem 0;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2rem 0 .5rem;border-bottom:1px solid var(--line);padding-bottom:.25rem}
h3.stage{font-size:1rem;margin:1rem 0 .35rem;text-transform:capitalize}
p,li,figcaption{max-width:48rem}
figure{margin:0}
figcaption{color:var(--soft);font-size:.9rem;overflow-wrap:anywhere}
figcaption b{color:var(--ink)}
dl{margin:0}
dd{margin:0}
.tiles{display:grid;grid-template-columns:repeat(auto-fill,minmax(6.2rem,1fr));gap:.5rem}
.tiles div{background:var(--card);border:1px solid var(--line);border-radius:.4rem;padding:.4rem .6rem}
.tiles dt{color:var(--soft);font-size:.85rem}
.tiles dd{font-size:1.25rem;font-variant-numeric:tabular-nums}
.plots,.cases{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,20rem),1fr));gap:1.25rem}
.plots svg{display:block;width:100%;height:auto;max-width:34rem}
.plots svg text{font-family:system-ui,sans-serif!important}
.pair{display:flex;gap:.4rem;align-items:flex-start}
.pair img{flex:1 1 0;min-width:0;width:50%;height:auto;border-radius:.25rem;background:var(--card)}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:.4rem}
table{border-collapse:collapse;width:100%;font-variant-numeric:tabular-nums;font-size:.9rem}
th,td{padding:.3rem .6rem;text-align:right;white-space:nowrap}
th:first-child{text-align:left;position:sticky;left:0;background:var(--paper);max-width:11rem;overflow:hidden;
text-overflow:ellipsis}
thead th{border-bottom:1px solid var(--line);color:var(--soft);font-weight:600}
tbody th{font-weight:400}
tbody tr:nth-child(even)>*{background:var(--card)}
tfoot>tr>*{border-top:1px solid var(--line);font-weight:600}
.facts div{display:grid;grid-template-columns:minmax(7rem,14rem) 1fr;gap:.2rem .75rem;padding:.2rem 0;
border-bottom:1px solid var(--line)}
.facts dt{color:var(--soft);overflow-wrap:anywhere}
.facts dd{overflow-wrap:anywhere}
.key::before{content:"";display:inline-block;width:.8em;height:.8em;margin-right:.3em;border-radius:.15em;
vertical-align:-.05em;border:1px solid #000}
.key.gt::before{background:#ffd600}
.key.pred::before{background:#2878ff}
@media (max-width:30rem){main{padding:.75rem}.facts div{grid-template-columns:1fr;gap:0}}
"""
