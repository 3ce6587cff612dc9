// A program in another language that knows nothing of pipespan: spans, logs, metrics of every kind and an
// exception, by the official SDK alone. Where it sends to is told by OTEL_EXPORTER_OTLP_ENDPOINT and _HEADERS.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploggrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetricgrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/metric"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

const (
	scope = "harbour"
	lines = 250
)

func main() {
	if err := run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	about, err := resource.New(ctx, resource.WithFromEnv(), resource.WithProcessPID(), resource.WithHost(),
		resource.WithAttributes(attribute.String("service.name", "harbour"), attribute.String("service.instance.id", "quay-7")))
	if err != nil {
		return err
	}
	spans, err := otlptracegrpc.New(ctx)
	if err != nil {
		return err
	}
	records, err := otlploggrpc.New(ctx)
	if err != nil {
		return err
	}
	points, err := otlpmetricgrpc.New(ctx)
	if err != nil {
		return err
	}
	tracing := sdktrace.NewTracerProvider(sdktrace.WithBatcher(spans), sdktrace.WithResource(about))
	logging := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewBatchProcessor(records)), sdklog.WithResource(about))
	measuring := sdkmetric.NewMeterProvider(
		sdkmetric.WithReader(sdkmetric.NewPeriodicReader(points, sdkmetric.WithInterval(time.Hour))), sdkmetric.WithResource(about),
		sdkmetric.WithView(sdkmetric.NewView(sdkmetric.Instrument{Name: "crane.load"},
			sdkmetric.Stream{Aggregation: sdkmetric.AggregationBase2ExponentialHistogram{MaxSize: 160, MaxScale: 20}})))
	work(ctx, tracing.Tracer(scope), logging.Logger(scope), measuring.Meter(scope))
	return errors.Join(tracing.Shutdown(ctx), logging.Shutdown(ctx), measuring.Shutdown(ctx))
}

func work(ctx context.Context, tracer trace.Tracer, logger log.Logger, meter metric.Meter) {
	ctx, ship := tracer.Start(ctx, "unload ship", trace.WithAttributes(attribute.String("ship", "Grüne Welle"),
		attribute.Int("containers", 3), attribute.StringSlice("cranes", []string{"a", "b"})))
	defer ship.End()
	measure(ctx, meter)
	for number := range 3 {
		container(ctx, tracer, logger, number)
	}
	for number := range lines {
		say(ctx, logger, log.SeverityInfo, fmt.Sprintf("line %d", number), attribute.Int("number", number))
	}
	_, customs := tracer.Start(ctx, "customs", trace.WithLinks(trace.LinkFromContext(ctx, attribute.String("why", "paper"))))
	customs.AddEvent("stamped", trace.WithAttributes(attribute.Bool("in_time", true)))
	customs.End()
}

func container(ctx context.Context, tracer trace.Tracer, logger log.Logger, number int) {
	ctx, step := tracer.Start(ctx, fmt.Sprintf("container %d", number))
	defer step.End()
	deeper, lift := tracer.Start(ctx, "lift", trace.WithSpanKind(trace.SpanKindClient))
	say(deeper, logger, log.SeverityDebug, "hooked")
	lift.End()
	if number == 1 {
		err := fmt.Errorf("crane stuck: %w", os.ErrDeadlineExceeded)
		step.RecordError(err, trace.WithStackTrace(true))
		step.SetStatus(codes.Error, err.Error())
		load := attribute.MapValue(attribute.Float64("t", 12.5), attribute.StringSlice("where", []string{"quay"}))
		say(ctx, logger, log.SeverityError, "it hangs", attribute.KeyValue{Key: "load", Value: load})
	}
}

func measure(ctx context.Context, meter metric.Meter) {
	lifted, _ := meter.Int64Counter("crane.lifted", metric.WithUnit("{container}"))
	lifted.Add(ctx, 2, metric.WithAttributes(attribute.String("crane", "a")))
	lifted.Add(ctx, 1, metric.WithAttributes(attribute.String("crane", "b")))
	waiting, _ := meter.Int64UpDownCounter("quay.waiting")
	waiting.Add(ctx, 5)
	waiting.Add(ctx, -2)
	wind, _ := meter.Float64Gauge("wind", metric.WithUnit("m/s"))
	wind.Record(ctx, 7.5)
	taken, _ := meter.Float64Histogram("unload.duration", metric.WithUnit("s"), metric.WithExplicitBucketBoundaries(1, 10))
	load, _ := meter.Float64Histogram("crane.load", metric.WithUnit("t"))
	for _, value := range []float64{0.5, 5, 50} {
		taken.Record(ctx, value)
		load.Record(ctx, value)
	}
}

func say(ctx context.Context, logger log.Logger, severity log.Severity, text string, about ...attribute.KeyValue) {
	var record log.Record
	record.SetTimestamp(time.Now())
	record.SetSeverity(severity)
	record.SetSeverityText(severity.String())
	record.SetBody(attribute.StringValue(text))
	record.AddAttributes(about...)
	logger.Emit(ctx, record)
}
