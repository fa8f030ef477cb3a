"""The conformance kit, on sound plugins and on plugins with one planted fault each."""
