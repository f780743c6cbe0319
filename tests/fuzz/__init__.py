"""Fuzz targets: functions that take any bytes and hold the package to what it promises."""
