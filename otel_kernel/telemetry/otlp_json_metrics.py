"""Metrics and their points as OTLP/JSON; the rules are those of `otlp_json`."""

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.metrics.v1 import metrics_pb2 as otlp

from otel_kernel.telemetry.otlp_json import Json, attributes, double, line, resource, scope


def metrics_line(request: bytes) -> bytes:
    """Return a serialised `ExportMetricsServiceRequest` as one line of OTLP/JSON, ASCII, with its line feed."""
    message = ExportMetricsServiceRequest.FromString(request)
    return line({"resourceMetrics": [_resource_metrics(each) for each in message.resource_metrics]})


def _resource_metrics(message: otlp.ResourceMetrics) -> Json:
    return {
        "resource": resource(message.resource),
        "scopeMetrics": [_scope_metrics(each) for each in message.scope_metrics],
        "schemaUrl": message.schema_url,
    }


def _scope_metrics(message: otlp.ScopeMetrics) -> Json:
    return {
        "scope": scope(message.scope),
        "metrics": [_metric(each) for each in message.metrics],
        "schemaUrl": message.schema_url,
    }


def _metric(message: otlp.Metric) -> Json:
    said: Json = {"name": message.name, "description": message.description, "unit": message.unit}
    if message.HasField("histogram"):
        return said | {
            "histogram": {
                "dataPoints": [_histogram(point) for point in message.histogram.data_points],
                "aggregationTemporality": message.histogram.aggregation_temporality,
            }
        }
    return said | {
        "sum": {
            "dataPoints": [_number(point) for point in message.sum.data_points],
            "aggregationTemporality": message.sum.aggregation_temporality,
            "isMonotonic": message.sum.is_monotonic,
        }
    }


def _number(message: otlp.NumberDataPoint) -> Json:
    point = _point(message)
    match message.WhichOneof("value"):
        case "as_int":
            return point | {"asInt": str(message.as_int)}
        case "as_double":
            return point | {"asDouble": double(message.as_double)}
        case _:
            return point


def _histogram(message: otlp.HistogramDataPoint) -> Json:
    point = _point(message) | {
        "count": str(message.count),
        "bucketCounts": [str(count) for count in message.bucket_counts],
        "explicitBounds": [double(bound) for bound in message.explicit_bounds],
    }
    if message.HasField("sum"):
        point["sum"] = double(message.sum)
    if message.exemplars:
        point["exemplars"] = [_exemplar(exemplar) for exemplar in message.exemplars]
    return point


def _point(message: otlp.NumberDataPoint | otlp.HistogramDataPoint) -> Json:
    said: Json = {"attributes": attributes(message.attributes)} if message.attributes else {}
    said["startTimeUnixNano"] = str(message.start_time_unix_nano)
    said["timeUnixNano"] = str(message.time_unix_nano)
    if message.flags:
        said["flags"] = message.flags
    return said


def _exemplar(message: otlp.Exemplar) -> Json:
    return {
        "filteredAttributes": attributes(message.filtered_attributes),
        "timeUnixNano": str(message.time_unix_nano),
        "asDouble": double(message.as_double),
        "spanId": message.span_id.hex(),
        "traceId": message.trace_id.hex(),
    }
