"""The tables, each a module with NAME, run(options) and render(results, plots); see kpi_bench.document."""
