"""An order's traces: ``otlp`` reads them from what was exported, ``waterfall`` lays them out."""
