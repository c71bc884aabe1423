"""The routes of the admin API and what stands behind them."""
